package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"relish/experiment"
	"relish/internal/config"
)

// The documents are checked against the binary. The language of a fenced block says how:
//
//	sh      every `relish` command must parse. Every `curl` command runs against a service with
//	        the demo's data and must succeed.
//	json    the block is one JSON value
//	ndjson  the block is events, and /feedback accepts each
//	yaml    the block is a relish.yaml if it begins with the comment "# relish.yaml", and an
//	        experiments file if it begins with "# experiments.yaml"
//	text    nothing is checked: output, shapes with placeholders, diagrams
//
// Documents use no indented blocks.

// block is one fenced block of a document.
type block struct {
	file     string
	line     int // of the opening fence, from 1
	language string
	text     string
}

func (b block) at() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

// blocks returns the fenced blocks of all documents.
func blocks(t *testing.T) []block {
	t.Helper()
	var all []block
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "../.." &&
			(strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("../..", path)
		if err != nil {
			return err
		}
		all = append(all, fenced(t, rel, string(text))...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// listItem matches the first line of a list item. Indented lines may continue it.
var listItem = regexp.MustCompile(`^\s*([-*]|[0-9]+\.) `)

// fenced splits a document into its fenced blocks. It refuses indented blocks.
func fenced(t *testing.T, file, text string) []block {
	t.Helper()
	var all []block
	var open *block
	inList := false
	for i, line := range strings.Split(text, "\n") {
		language, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open == nil:
			open = &block{file: file, line: i + 1, language: language}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "    ") && !inList:
			t.Errorf("%s:%d: an indented block is not checked; fence it and name its language",
				file, i+1)
			inList = true // one report for the whole block
		case line != "" && !strings.HasPrefix(line, " "):
			inList = listItem.MatchString(line)
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the fence is not closed", file, open.line)
	}
	return all
}

// commands returns the commands of a shell block, with continued lines joined and comments removed.
// A quoted argument may span lines.
func (b block) commands() []string {
	var all []string
	var open string
	for _, line := range strings.Split(b.text, "\n") {
		switch {
		case open != "":
			open += "\n" + line
		case strings.HasPrefix(strings.TrimSpace(line), "#"):
			continue
		default:
			open = line
		}
		if strings.HasSuffix(open, "\\") {
			open = strings.TrimSuffix(open, "\\")
			continue
		}
		if strings.Count(open, "'")%2 == 0 {
			if c := strings.TrimSpace(open); c != "" {
				all = append(all, c)
			}
			open = ""
		}
	}
	return all
}

func TestDocumentedCommands(t *testing.T) {
	checked := 0
	for _, b := range blocks(t) {
		if b.language != "sh" {
			continue
		}
		for _, command := range b.commands() {
			prefix := regexp.MustCompile(`^(RELISH_[A-Z_]+=\S+ )*(\S*/)?relish( |$)`)
			line := prefix.ReplaceAllString(command, "relish ")
			args, ok := strings.CutPrefix(line, "relish ")
			if !ok {
				continue
			}
			checked++
			if err := parses(words(args)); err != nil {
				t.Errorf("%s: %s\n%v", b.at(), command, err)
			}
		}
	}
	if checked == 0 {
		t.Error("the documents show no relish command")
	}
}

// words splits a command line as a shell does that expands nothing, up to the first operator.
func words(line string) []string {
	line, _, _ = strings.Cut(line, " #")
	var out []string
	word := regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`)
	for _, m := range word.FindAllStringSubmatch(line, -1) {
		switch m[3] {
		case "|", "&", "&&", ";", ">", "<", "2>":
			return out
		}
		out = append(out, m[1]+m[2]+m[3])
	}
	return out
}

// parses reports whether the command line is one that relish accepts. Files that a document names
// need not exist.
func parses(args []string) error {
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		return err
	}
	if _, err := parser.Parse(args); err != nil && !errors.Is(err, fs.ErrNotExist) &&
		!strings.Contains(err.Error(), "no such file") {
		return err
	}
	return nil
}

func TestDocumentedFiles(t *testing.T) {
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		t.Fatal(err)
	}
	flags := flagNames(parser.Model.Node)
	for _, b := range blocks(t) {
		switch first, _, _ := strings.Cut(b.text, "\n"); {
		case b.language == "json":
			if !json.Valid([]byte(b.text)) {
				t.Errorf("%s: not one JSON value; mark shapes with placeholders as text", b.at())
			}
		case b.language == "yaml" && strings.HasPrefix(first, "# relish.yaml"):
			path := filepath.Join(t.TempDir(), "relish.yaml")
			if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(path, flags); err != nil {
				t.Errorf("%s: %v", b.at(), err)
			}
		case b.language == "yaml" && strings.HasPrefix(first, "# experiments.yaml"):
			if _, err := experiment.Parse([]byte(b.text)); err != nil {
				t.Errorf("%s: %v", b.at(), err)
			}
		case b.language == "":
			t.Errorf("%s: the block has no language", b.at())
		}
	}
}

func TestDocumentedRequests(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	output(t, "demo", "--data", data)
	s := serve(t, "--data", data)
	checked := 0
	for _, b := range blocks(t) {
		switch b.language {
		case "sh":
			for _, command := range b.commands() {
				if strings.HasPrefix(command, "curl ") {
					checked++
					s.curl(t, b.at(), command)
				}
			}
		case "ndjson":
			checked++
			status, answer := s.post(t, "/feedback", eventArray(b.text))
			if rejected, _ := answer["rejected"].([]any); status != 200 || len(rejected) > 0 {
				t.Errorf("%s: %d %v", b.at(), status, answer)
			}
		}
	}
	if checked == 0 {
		t.Error("the documents show no request")
	}
}

// eventArray makes a JSON array of the lines, so that a document's events can be posted as one
// body.
func eventArray(lines string) string {
	return "[" + strings.Join(strings.Split(strings.TrimSpace(lines), "\n"), ",") + "]"
}

var documentedAddress = regexp.MustCompile(`(http://)?(localhost|127\.0\.0\.1):8080`)

// curl runs a documented curl command against the service.
func (s *service) curl(t *testing.T, at, command string) {
	t.Helper()
	command = documentedAddress.ReplaceAllString(command, s.url)
	command, _, _ = strings.Cut(command, " | ")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	strict := strings.Replace(command, "curl", "curl --fail-with-body -sS", 1)
	cmd := exec.CommandContext(ctx, "bash", "-c", strict)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %s\n%v: %s", at, command, err, out)
	}
}
