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
	"github.com/google/go-cmp/cmp/cmpopts"

	"relish/features/embedded"
	"relish/internal/config"
	"relish/internal/demo"
	"relish/ranker"
	"relish/ranker/bundle"
)

// trained is what two trainings on the same history have in common.
type trained struct {
	Schema  string
	Metrics string
	Files   map[string]string // SHA-256 by name
	State   []float32         // what the server knows after the import
}

// TestOrderOfImportsDoesNotMatter imports one history in three ways: in order, as a shuffled file,
// and with the catalogue after the behaviour and without times. The bundles have the same columns,
// the same metrics and the same files. The history spans weeks, so the schema has half-lives and
// ages although the import took a second.
func TestOrderOfImportsDoesNotMatter(t *testing.T) {
	events := slices.Collect(demo.New(demo.Options{Seed: 5, Users: 30, Lists: 1400}).Events())
	var items, behaviour []ranker.Event
	start := events[0].Time
	for i := range events {
		e := events[i]
		e.Time = start + 30*(e.Time-start)
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
		got.State = servedState(t, data)
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
		if d := cmp.Diff(want, got, cmpopts.EquateNaNs()); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// servedState returns counters of users, items and tags in the state that a server begins with.
func servedState(t *testing.T, data string) []float32 {
	t.Helper()
	cfg := config.Default()
	cfg.State.Text = cfg.Text
	state, err := embedded.LoadState(data, cfg.State)
	if err != nil {
		t.Fatal(err)
	}
	var columns []ranker.Feature
	for _, scope := range []string{
		ranker.ScopeItem, ranker.ScopeField, ranker.ScopeUser, ranker.ScopeUserField,
		ranker.ScopeGlobal,
	} {
		columns = append(columns, ranker.Feature{
			Name: scope, Kind: ranker.KindCount, Scope: scope, Action: "click", Field: "tags",
			HalfLife: "30d",
		})
	}
	schema, err := ranker.NewSchema(columns)
	if err != nil {
		t.Fatal(err)
	}
	query := &ranker.FeatureQuery{Schema: schema, Now: 1_790_000_000_000}
	for _, item := range state.Items() {
		query.Candidates = append(query.Candidates, ranker.Candidate{ID: item.ID})
	}
	var out []float32
	for _, query.User = range slices.Sorted(state.Users()) {
		read, err := state.Read(query)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, read.Columns...)
	}
	return out
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
