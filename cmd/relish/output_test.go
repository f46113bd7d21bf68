package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The last line of work says that all of it is done, or how far it came. Work that ends before its
// first line stays silent.
func TestProgressEnds(t *testing.T) {
	for name, c := range map[string]struct {
		last time.Duration // before the end
		done []int
		want string
	}{
		"within an interval": {0, []int{1, 2, 3}, ""},
		"all":                {0, []int{0, 1, 3}, "work: 1 of 3\nwork: 3 of 3\n"},
		"stopped":            {0, []int{0, 1, 2}, "work: 1 of 3\nwork: 2 of 3\n"},
		"last at its time":   {progressInterval, []int{0, 1, 3}, "work: 1 of 3\nwork: 3 of 3\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			p := &progress{title: "work", out: &out, last: time.Now()}
			for i, done := range c.done {
				if i == len(c.done)-1 {
					time.Sleep(c.last)
				}
				if p.set(done, 3); done == 0 {
					time.Sleep(progressInterval)
				}
			}
			p.end()
			p.end()
			if out.String() != c.want {
				t.Errorf("%s: got %q, want %q", name, out.String(), c.want)
			}
		})
	}
}

// What files and users write cannot control the terminal.
func TestPrintable(t *testing.T) {
	in := "a\x1b[31mred\x07\r\n\tü\u202ex\u009b1\x7f"
	want := `a\u001b[31mred\u0007\u000d` + "\n\tü" + `\u202ex\u009b1\u007f`
	if got := printable(in); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// An import escapes the names and values of its files in everything that it prints.
func TestImportPrintsNoControlCharacters(t *testing.T) {
	dir := t.TempDir()
	const evil = `\u001b]0;x\u0007\u202e`
	file := filepath.Join(dir, "evil.jsonl")
	lines := `{"item":"a","` + evil + `":1,"title":"t"}` + "\n" +
		`{"item":"b` + evil + `","title":"t"}` + "\n" + `{"item":"c","title":{"` + evil + `":1}}`
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{
		{"--kind", "items"}, {"--kind", "items", "--json"}, {"--kind", "events"},
		{"--columns", "item=none"}, {"--kind", "items", "--strict"},
	} {
		args := append([]string{"import", "--data", filepath.Join(dir, "d"), "--no-text"}, more...)
		out, _ := relish(t, append(args, file)...).CombinedOutput()
		if len(out) == 0 || strings.ContainsAny(string(out), "\x1b\x07\u202e") {
			t.Errorf("%v: %q", more, out)
		}
	}
}
