package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"relish/features"
	"relish/features/embedded"
	"relish/features/ingest"
	"relish/features/storetest"
)

// shortLog keeps about three segments of a few records each.
func shortLog() embedded.Options {
	return embedded.Options{Ingest: ingest.Options{SegmentBytes: 2000, RetainBytes: 6000}}
}

// packed returns the folder's state. Equal states have equal bytes.
func packed(t *testing.T, dir string, cfg features.Config) []byte {
	t.Helper()
	state, err := embedded.LoadState(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return storetest.Bytes(state)
}

// The log and the cut add up to the state, however much of the log retention dropped.
func TestRetentionKeepsTheState(t *testing.T) {
	dir, cfg := t.TempDir(), storetest.Config()
	file := func(name string) string { return filepath.Join(dir, name) }
	check := func(what string) {
		t.Helper()
		want := packed(t, dir, cfg)
		if err := os.Remove(file("checkpoint")); err != nil {
			t.Fatal(err)
		}
		if got := packed(t, dir, cfg); !bytes.Equal(got, want) {
			t.Errorf("%s: the state without the checkpoint differs", what)
		}
	}
	fill := func(round string) {
		t.Helper()
		s := open(t, dir, cfg, shortLog())
		for i := range 100 {
			user := fmt.Sprint("u", i%7)
			add(t, s, click(fmt.Sprint(round, i), user, fmt.Sprint("i", i%5)))
		}
		if err := s.Close(); err != nil { // waits for the retention
			t.Fatal(err)
		}
		if first := s.FirstSeq(); first < 20 {
			t.Fatalf("the log begins at record %d, want a retention to have dropped more", first)
		}
	}
	fill("a")
	check("after a retention")
	fill("b")
	check("after more of it")

	// A folder of a version that dropped records without a cut gets one at the next start.
	fill("c")
	if err := os.Remove(file("cut")); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir, cfg, shortLog()).Close(); err != nil {
		t.Fatal(err)
	}
	check("after an older version")

	s := open(t, dir, cfg, shortLog())
	if err := errors.Join(s.EraseUser(t.Context(), "u3"), s.EraseNow(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cut", "kept"} {
		if data, err := os.ReadFile(file(name)); err != nil || bytes.Contains(data, []byte("u3")) {
			t.Errorf("%s holds the erased user (%v)", name, err)
		}
	}
	check("after an erasure") // the counts of the erased user stay
	fill("d")
	check("after an erasure and a retention")

	// What was counted with another configuration is counted again from what the log has.
	cfg.Actions = append(cfg.Actions, "like")
	if err := open(t, dir, cfg, shortLog()).Close(); err != nil {
		t.Errorf("with another configuration: %v", err)
	}
	// A cut that cannot be read does not become an empty state.
	if err := os.WriteFile(file("cut"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file("checkpoint")); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(dir, cfg, shortLog()); !errors.Is(err, features.ErrCorrupt) {
		t.Errorf("a damaged cut: %v", err)
	}
}
