package pipeline

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/ranker"
)

// writeLog writes a log of n interactions and returns its folder. Their ids begin with prefix.
func writeLog(t *testing.T, prefix string, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	appendInteractions(t, dir, prefix, 0, n)
	return dir
}

func appendInteractions(t *testing.T, dir, prefix string, from, to int) {
	t.Helper()
	l, err := eventlog.Open(dir, eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var events []ranker.Event
	for i := from; i < to; i++ {
		events = append(
			events,
			ranker.Event{
				Kind:   ranker.EventInteraction,
				ID:     fmt.Sprint(prefix, i),
				UserID: "u",
				ItemID: "i",
				Action: "click",
			},
		)
	}
	if _, err := l.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func openSource(t *testing.T, dirs ...string) *source {
	t.Helper()
	s := &source{dirs: dirs, ids: 1 << 20}
	if err := s.open(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return s
}

func readNumbers(s *source) (out []uint64, err error) {
	for rec, e := range s.Records() {
		if e != nil {
			return out, e
		}
		out = append(out, rec.Seq)
	}
	return out, nil
}

// Several logs are numbered as one. Each pass gives the same numbers, up to the bound.
func TestSourceNumbersSeveralLogs(t *testing.T) {
	dirs := []string{writeLog(t, "a", 5000), writeLog(t, "b", 3000)}
	s := openSource(t, dirs...)
	data, counts, err := s.learned(1 << 60)
	all := data.Logs
	if err != nil || len(all) != 2 || all[0].Last.Seq+all[1].Last.Seq != 8000 ||
		counts[ranker.EventInteraction] != 8000 {
		t.Fatalf("%+v, %v, %v", all, counts, err)
	}
	appendInteractions(t, dirs[0], "a", 5000, 5100)
	for range 2 {
		got, err := readNumbers(s)
		if err != nil || len(got) != 8000 || got[0] != 1 || got[7999] != 8000 {
			t.Fatalf("%d records, %v", len(got), err)
		}
	}
	some, _, err := s.learned(6001)
	if err != nil || some.HeldOutFrom == nil {
		t.Fatal(err, some.HeldOutFrom)
	}
	n := uint64(0)
	for _, r := range some.Logs {
		n += r.Last.Seq
	}
	if n != 6000 {
		t.Errorf("%d records lie before number 6001: %+v", n, some)
	}
	if one, err := readNumbers(openSource(t, dirs[0])); err != nil || len(one) != 5100 {
		t.Errorf("one log: %d records, %v", len(one), err)
	}
}

// An event that two replicas' logs have is read once.
func TestSourceCountsAnEventOnce(t *testing.T) {
	dirs := []string{writeLog(t, "a", 50), writeLog(t, "b", 30)}
	appendInteractions(t, dirs[1], "a", 20, 40)
	s := openSource(t, dirs...)
	got, err := readNumbers(s)
	if err != nil || len(got) != 80 {
		t.Errorf("%d records, want 80; %v", len(got), err)
	}
	_, counts, err := s.learned(1 << 60)
	if err != nil || counts[ranker.EventInteraction] != 80 {
		t.Errorf("%v interactions, want 80; %v", counts, err)
	}
}

// A log that is rewritten between two passes shifts its numbers; the second pass fails.
func TestSourceDetectsRewrittenLog(t *testing.T) {
	s := openSource(t, writeLog(t, "a", 5000), writeLog(t, "b", 3000))
	if _, err := readNumbers(s); err != nil {
		t.Fatal(err)
	}
	l, err := eventlog.Open(s.dirs[0], eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	first := func(rec *event.Record) bool { return rec.Seq == 1 }
	if n, err := l.Rewrite(t.Context(), first); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := readNumbers(s); err == nil ||
		!strings.Contains(err.Error(), "start again") {
		t.Errorf("got %v", err)
	}
}
