package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"relish/internal/demo"
	"relish/ranker"
	"relish/ranker/bundle"
)

// trained is what two trainings on the same history have in common.
type trained struct {
	Schema  string
	Metrics string
	Files   map[string]string // SHA-256 by name
}

// TestOrderOfImportsDoesNotMatter imports one history in three ways: in order, as a shuffled file,
// and with the catalogue after the behaviour and without times. The bundles have the same columns,
// the same metrics and the same files. The history spans months, so the schema has half-lives and
// ages although the import took a second.
func TestOrderOfImportsDoesNotMatter(t *testing.T) {
	events := slices.Collect(demo.New(demo.Options{Seed: 5, Users: 30, Lists: 700}).Events())
	var items, behaviour []ranker.Event
	start := events[0].Time
	for i := range events {
		e := events[i]
		e.Time = start + 100*(e.Time-start)
		if e.Kind == ranker.EventItem {
			e.Time = 0 // as catalogues come
			items = append(items, e)
		} else {
			behaviour = append(behaviour, e)
		}
	}
	shuffled := slices.Concat(items, behaviour)
	rng := rand.New(rand.NewPCG(5, 5))
	rng.Shuffle(len(shuffled), func(i, j int) {
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	})
	config := quickConfig(t)
	var want trained
	for i, c := range []struct {
		name    string
		imports [][]ranker.Event
	}{
		{"in order", [][]ranker.Event{items, behaviour}},
		{"shuffled", [][]ranker.Event{shuffled}},
		{"catalogue last", [][]ranker.Event{behaviour[1000:], behaviour[:1000], items}},
	} {
		dir := t.TempDir()
		data := filepath.Join(dir, "d")
		for _, events := range c.imports {
			file := filepath.Join(dir, "events.jsonl")
			if err := os.WriteFile(file, ndjson(t, events), 0o600); err != nil {
				t.Fatal(err)
			}
			output(t, "import", "--data", data, "--no-text", "--strict", file)
		}
		_, bundleDir := train(t, data, "--config", config, "--holdout", "0.2")
		got := readTrained(t, bundleDir)
		if i == 0 {
			want = got
			features, err := os.ReadFile(filepath.Join(bundleDir, "features.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"item.age", ".7d"} {
				if !strings.Contains(string(features), name) {
					t.Errorf("the schema lacks %s:\n%s", name, features)
				}
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func readTrained(t *testing.T, dir string) trained {
	t.Helper()
	m, err := bundle.ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := json.Marshal(m.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	out := trained{Schema: m.Schema, Metrics: string(metrics), Files: map[string]string{}}
	for _, f := range m.Files {
		if !strings.HasPrefix(f.Name, "report") { // it has times and the order of the logs
			out.Files[f.Name] = f.SHA256
		}
	}
	return out
}
