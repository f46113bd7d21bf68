package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
