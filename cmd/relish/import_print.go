package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"relish/features/importfile"
	"relish/internal/app"
	"relish/internal/plural"
	"relish/ranker"
)

// print prints the summary of an import to standard output, and its warnings to standard error.
func (c *importCmd) print(s *app.ImportSummary) error {
	if c.JSON {
		return printJSON(s)
	}
	fmt.Printf("accepted %d, duplicates %d, rejected %d", s.Accepted, s.Duplicates, s.Rejected)
	if c.Server == "" {
		fmt.Printf(", texts encoded %d", s.Encoded)
	}
	fmt.Println()
	for _, f := range s.Files {
		printFile(f)
	}
	for _, r := range s.Reasons {
		message := r.Message
		if r.Pointer != "" {
			message = r.Pointer + " " + message
		}
		fmt.Printf("rejected %d: %s:%d: %s\n", r.Rows, r.File, r.Line, printable(message))
	}
	if len(s.Kinds) > 0 {
		fmt.Println(eventsLine(s))
	}
	if len(s.Actions) > 0 {
		var parts []string
		for _, a := range s.Actions[:min(len(s.Actions), maxActionsShown)] {
			parts = append(parts, fmt.Sprintf("%s %d", printable(a.Action), a.Events))
		}
		if n := len(s.Actions) - len(parts); n > 0 {
			parts = append(parts, "and "+plural.Count(n, "other action"))
		}
		fmt.Printf("actions: %s\n", strings.Join(parts, ", "))
	}
	for i, w := range s.Warnings {
		if i == maxWarnings {
			fmt.Fprintf(os.Stderr, "and %s; --json prints all\n",
				plural.Count(len(s.Warnings)-i, "other warning"))
			break
		}
		fmt.Fprintln(os.Stderr, "warning:", printable(w))
	}
	return nil
}

// Bounds of what is printed for people. With --json all is printed.
const (
	maxActionsShown = 20
	maxColumnsShown = 30
	maxWarnings     = 10
)

func printFile(f app.FileSummary) {
	parts := []string{plural.Count(f.Rows, "row")}
	switch f.Format {
	case importfile.CSV:
		parts = append(parts, fmt.Sprintf("CSV with separator %q", f.Separator))
	case importfile.JSON:
		parts = append(parts, "JSON")
	case importfile.Parquet:
		parts = append(parts, "Parquet")
	}
	if f.Times != "" {
		parts = append(parts, "times read as "+f.Times)
	}
	fmt.Printf("%s: %s\n", f.File, strings.Join(parts, ", "))
	if len(f.Fields) > 0 {
		var fields []string
		for _, name := range slices.Sorted(maps.Keys(f.Fields)) {
			fields = append(fields, name+" "+f.Fields[name])
		}
		fmt.Printf("%s: fields: %s\n", f.File, someOf(fields))
	}
	if len(f.Unused) > 0 {
		fmt.Printf("%s: columns not used: %s\n", f.File, someOf(f.Unused))
	}
}

// someOf joins the first of the names of columns.
func someOf(names []string) string {
	more := ""
	if n := len(names) - maxColumnsShown; n > 0 {
		names, more = names[:maxColumnsShown], " and "+plural.Count(n, "other")
	}
	return printable(strings.Join(names, ", ")) + more
}

// eventsLine says which events were read.
func eventsLine(s *app.ImportSummary) string {
	var parts []string
	for _, k := range []struct {
		kind ranker.EventKind
		name string
	}{
		{ranker.EventInteraction, "interactions"}, {ranker.EventImpression, "impressions"},
		{ranker.EventItem, "items"}, {ranker.EventUser, "user descriptions"},
	} {
		if n := s.Kinds[k.kind]; n > 0 {
			text := fmt.Sprintf("%s %d", k.name, n)
			if k.kind == ranker.EventItem {
				text += fmt.Sprintf(" (%d with text)", s.WithText)
			}
			parts = append(parts, text)
		}
	}
	line := "events: " + strings.Join(parts, ", ")
	if s.Users > 0 {
		line += fmt.Sprintf("; users %d", s.Users)
	}
	if s.Items > 0 {
		line += fmt.Sprintf("; items seen %d", s.Items)
		if s.UnknownItems > 0 {
			line += fmt.Sprintf(" (%d not described)", s.UnknownItems)
		}
	}
	if s.First != "" {
		line += fmt.Sprintf("; from %s to %s", s.First, s.Last)
	}
	return line
}
