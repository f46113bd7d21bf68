package main

import (
	"regexp"
	"strings"
	"testing"
)

// TestHelpFitsTwoLines renders the help of every command at 100 columns. Each command has one line
// in its list, and each flag at most two lines.
func TestHelpFitsTwoLines(t *testing.T) {
	for _, command := range commandPaths(t) {
		cmd := relish(t, append(command, "--help")...)
		cmd.Env = append(cmd.Env, "COLUMNS=100")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		entry, lines, list := "", 0, ""
		for _, line := range strings.Split(string(out), "\n") {
			switch {
			case regexp.MustCompile(`^\S`).MatchString(line):
				list, entry = line, ""
			case regexp.MustCompile(`^ {2,6}[-<a-z]`).MatchString(line):
				entry, lines = line, 1
				if regexp.MustCompile(`=[A-Z|:,.a-z]+$`).MatchString(line) {
					lines = 0 // the text of a long flag begins on the next line
				}
			case entry != "" && line != "":
				lines++
			}
			limit := 2
			if list == "Commands:" {
				limit = 1
			}
			if lines > limit {
				t.Errorf("relish %v: the help of %q has more than %d lines", command, entry, limit)
			}
		}
	}
}

// commandPaths returns the words of every visible command; the first is the empty list, relish
// itself.
func commandPaths(t *testing.T) [][]string {
	t.Helper()
	parser, err := newParser(new(cli))
	if err != nil {
		t.Fatal(err)
	}
	paths := [][]string{nil}
	for _, node := range parser.Model.Leaves(true) {
		paths = append(paths, strings.Fields(node.Path()))
	}
	return paths
}
