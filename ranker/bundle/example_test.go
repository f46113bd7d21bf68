package bundle_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

// A trained model is written as a bundle, tried, and activated for all servers that share the
// folder.
func Example() {
	root, err := os.MkdirTemp("", "bundles")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)

	schema, err := scorer.PriorSchema(nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	prior, err := scorer.NewPrior(schema, nil)
	if err != nil {
		log.Fatal(err)
	}
	model := &ranker.Model{
		Schema:  schema,
		Signals: []ranker.Signal{signals.TextSimilarity{}, signals.TokenOverlap{}},
		Scorer:  prior,
	}

	// The probe is a ranking with the scores that the model gives.
	bread := ranker.NewItemInfo(ranker.Item{ID: "i1", Title: "bread"}, ranker.DefaultTextSpec)
	probe, err := bundle.RecordProbe(context.Background(), model, &ranker.SignalInput{
		Request: &ranker.Request{User: "u1", Candidates: []ranker.Candidate{{ID: "i1"}}},
		State: &ranker.RequestState{
			Items:   []*ranker.ItemInfo{bread},
			Columns: make([]float32, len(schema.Columns())),
		},
		ItemVectors: [][]float32{nil},
	})
	if err != nil {
		log.Fatal(err)
	}
	files := map[string][]byte{"prior.json": []byte(`{"tables":[]}`)}
	if files[bundle.SchemaFile], err = bundle.FormatSchema(schema); err != nil {
		log.Fatal(err)
	}
	files[bundle.ProbeFile], err = bundle.EncodeProbe(ranker.DefaultTextSpec,
		[]bundle.ProbeCase{probe})
	if err != nil {
		log.Fatal(err)
	}
	version, err := bundle.Write(root, bundle.Manifest{
		Signals: []bundle.SignalFile{{Kind: signals.KindText}, {Kind: signals.KindTokenOverlap}},
		Scorer:  bundle.ScorerFile{Kind: bundle.ScorerPrior, File: "prior.json"},
	}, files)
	if err != nil {
		log.Fatal(err)
	}

	b, err := bundle.Load(filepath.Join(root, version), new(signals.Loader).Load)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	fmt.Println("probe:", b.Probe(context.Background()))
	fmt.Println("activate:", bundle.Activate(root, version, "train", "better on held-out data"))
	active, err := bundle.Active(root)
	fmt.Println("active:", active == version, err)
	// Output:
	// probe: <nil>
	// activate: <nil>
	// active: true <nil>
}
