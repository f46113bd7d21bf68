package snapshot_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/features/snapshot"
	"relish/features/storetest"
	"relish/ranker"
)

func filled(t testing.TB) *features.State {
	t.Helper()
	s := features.New(features.DefaultConfig())
	text, price := "a text, \"quoted\", 日本語", ranker.NumberValue(3.25)
	evs := append(
		storetest.RandomEvents(rand.New(rand.NewPCG(5, 5)), 300),
		ranker.Event{
			Kind:   ranker.EventItem,
			ID:     "x",
			ItemID: "it1",
			Time:   1_700_000_000_001,
			Text:   &text,
			Fields: map[string]ranker.FieldValue{
				"price": price, "on": ranker.BoolValue(true),
				"genres": ranker.StringsValue([]string{"a", "b"})},
		},
		ranker.Event{Kind: ranker.EventItem, ID: "y", ItemID: "bare", Time: 1e12, Tags: []string{}},
		ranker.Event{
			Kind:   ranker.EventUser,
			ID:     "z",
			UserID: "u1",
			Time:   1e12 + 1,
			Fields: map[string]ranker.FieldValue{"age": ranker.NumberValue(33)},
		},
	)
	for i := range evs {
		s.Apply(&event.Record{
			Seq: uint64(i + 1), Arrival: 1_700_000_100_000 + int64(i), Replica: replica,
			Event: evs[i],
		})
	}
	return s
}

const replica = "00000000000000aa"

// A state is the same, bit for bit, after Write and Load.
func TestRoundTrip(t *testing.T) {
	s := filled(t)
	dir := filepath.Join(t.TempDir(), "snap")
	m, err := snapshot.Write(dir, s.Dump(replica))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 4 || m.Replicas[replica] != s.Seq() {
		t.Errorf("manifest %+v", m)
	}
	again, err := snapshot.Write(dir+"2", s.Dump(replica))
	if err != nil || !slices.Equal(m.Files, again.Files) {
		t.Errorf("equal states gave different files: %+v, %+v, %v", m.Files, again.Files, err)
	}
	d, err := snapshot.Load(dir, s.Config())
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.State(replica)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(storetest.Bytes(got), storetest.Bytes(s)) {
		t.Error("the loaded state differs")
	}
	if other, err := d.State("00000000000000bb"); err != nil || other.Seq() != 0 {
		t.Errorf("for another replica's log: %v, %v", other.Seq(), err)
	}
	if _, err := snapshot.Write(dir, s.Dump(replica)); err == nil {
		t.Error("Write overwrote a snapshot")
	}
	if left, _ := filepath.Glob(dir + ".part*"); len(left) > 0 {
		t.Errorf("Write left %v", left)
	}
}

// Load rejects a snapshot that is truncated, changed, incomplete or newer, or that counts something
// else. The error gives the reason.
func TestDamagedSnapshots(t *testing.T) {
	s := filled(t)
	files := []string{
		"items.arrow", "users.arrow", "history.arrow", "counters.arrow", "manifest.json",
	}
	for _, name := range files {
		for what, change := range map[string]func([]byte) []byte{
			"truncated": func(b []byte) []byte { return b[:len(b)/2] },
			"flipped":   func(b []byte) []byte { b[len(b)/3] ^= 4; return b },
			"empty":     func([]byte) []byte { return nil },
			"missing":   nil,
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "snap")
				if _, err := snapshot.Write(dir, s.Dump(replica)); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(dir, name)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if change == nil {
					err = os.Remove(path)
				} else {
					err = os.WriteFile(path, change(data), 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := snapshot.Load(dir, s.Config()); err == nil && name != "manifest.json" {
					t.Error("Load accepted it")
				} else if err == nil && what != "flipped" { // it may give another valid manifest
					t.Error("Load accepted it")
				}
			})
		}
	}
	dir := filepath.Join(t.TempDir(), "snap")
	if _, err := snapshot.Write(dir, s.Dump(replica)); err != nil {
		t.Fatal(err)
	}
	cfg := s.Config()
	cfg.Actions = append([]string{"share"}, cfg.Actions...)
	if _, err := snapshot.Load(dir, cfg); err == nil ||
		!strings.Contains(err.Error(), "state.actions") {
		t.Errorf("another configuration: %v", err)
	}
	path := filepath.Join(dir, "manifest.json")
	data, _ := os.ReadFile(path)
	_ = os.WriteFile(
		path, bytes.Replace(data, []byte(`"version": 2`), []byte(`"version": 9`), 1), 0o644,
	)
	if _, err := snapshot.Load(dir, s.Config()); err == nil ||
		!strings.Contains(err.Error(), "newer relish") {
		t.Errorf("a newer version: %v", err)
	}
}
