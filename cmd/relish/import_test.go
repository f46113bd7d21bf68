package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/internal/app"
)

// TestImportParquet imports tables that pyarrow wrote. A damaged one is refused with the reason,
// and harms only the child process that reads it.
func TestImportParquet(t *testing.T) {
	dir, files := filepath.Join(t.TempDir(), "d"), t.TempDir()
	runPython(t, "parquet", files)
	events := filepath.Join(files, "events.parquet")
	items := []string{"import", "--data", dir, "--no-text", "--kind", "items", "--json",
		"--columns", "item=sku,title=name"}
	out := output(t, append(items, filepath.Join(files, "items.parquet"))...)
	var s app.ImportSummary
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	if s.Accepted != 60 || s.WithText != 60 || s.Rejected != 0 || s.Files[0].Format != "parquet" {
		t.Errorf("items: %s", out)
	}
	mapped := []string{"import", "--data", dir, "--no-text", "--json", "--columns",
		"user=visitor,item=sku,action=event,time=ts,value=amount", "--actions", "order=purchase"}
	out = output(t, append(mapped, events)...)
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	if s.Accepted != 2999 || s.Rejected != 1 || s.Users != 50 || s.Items != 70 ||
		s.UnknownItems != 10 || s.First != "2026-05-01T10:00:01Z" ||
		len(s.Actions) != 2 || s.Actions[1].Action != "purchase" || s.Actions[1].Events != 999 ||
		s.Files[0].Times != "ISO 8601" || len(s.Reasons) != 1 || s.Reasons[0].Line != 1 {
		t.Errorf("events: %s", out)
	}
	// The same rows from another system are duplicates.
	csv := "at;who;what;sku;amount\n2026-05-01 10:00:03;u3;purchase;3;0.75\n"
	path := filepath.Join(files, "same.csv")
	if err := os.WriteFile(path, []byte(csv), 0o600); err != nil {
		t.Fatal(err)
	}
	out = output(t, "import", "--data", dir, "--no-text", "--columns",
		"user=who,item=sku,action=what,time=at,value=amount", path)
	if !strings.Contains(out, "accepted 0, duplicates 1") {
		t.Errorf("the same event as CSV: %s", out)
	}

	data, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string]string{
		"truncated": string(data[:len(data)/2]),
		"footer": string(data[:len(data)-40]) + strings.Repeat("\xff", 32) +
			string(data[len(data)-8:]),
		"pages": string(data[:200]) + strings.Repeat("\x81", 2000) + string(data[2200:]),
	} {
		if err := os.WriteFile(events, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		out := mustFail(t, 1, append(mapped, events)...)
		if !strings.Contains(out, "events.parquet: the Parquet file is damaged") {
			t.Errorf("%s: %s", name, out)
		}
	}
	out = mustFail(t, 1, "import", "--data", dir, "--no-text",
		filepath.Join(files, "items.parquet"))
	if !strings.Contains(out, "there is no column for user, item, action. The columns are sku, "+
		"name, tags, price, released, size.w, size.h. They look like a catalogue: "+
		"try --kind items --columns item=sku,title=name") {
		t.Error(out)
	}
}
