package ranker_test

import (
	"context"
	"fmt"
	"log"

	"relish/ranker"
)

// catalogue is a feature store that knows the prices of some items.
type catalogue map[string]float32

// Read writes the only column of the schema, the price.
func (c catalogue) Read(
	_ context.Context, q *ranker.FeatureQuery,
) (*ranker.RequestState, error) {
	n := len(q.Candidates)
	state := &ranker.RequestState{
		Items:     make([]*ranker.ItemInfo, n),
		Columns:   make([]float32, n),
		ItemsRead: n,
	}
	for i, candidate := range q.Candidates {
		state.Columns[i] = c[candidate.ID]
	}
	return state, nil
}

// cheapFirst is a scorer that prefers a low price.
type cheapFirst struct{}

func (cheapFirst) Score(m *ranker.Matrix, out []float64) error {
	for i := range m.N {
		out[i] = -float64(m.Row(i)[0])
	}
	return nil
}

func (cheapFirst) Explain(m *ranker.Matrix, row int, out []float64) (float64, error) {
	out[0] = -float64(m.Row(row)[0])
	return 0, nil
}

// oneModel is a ranker.Models that has one model.
type oneModel struct{ model *ranker.Model }

func (o oneModel) Acquire(string) (*ranker.Model, error) { return o.model, nil }

func (oneModel) Fallbacks(string) []string { return nil }

func ExamplePipeline() {
	schema, err := ranker.NewSchema([]ranker.Feature{
		{Name: "price", Kind: ranker.KindNumber, Field: "price"},
	})
	if err != nil {
		log.Fatal(err)
	}
	model := &ranker.Model{Version: "cheap first", Schema: schema, Scorer: cheapFirst{}}
	pipeline, err := ranker.New(ranker.Options{
		Features: catalogue{"lamp": 30, "desk": 120, "chair": 45},
		Models:   oneModel{model},
	})
	if err != nil {
		log.Fatal(err)
	}
	resp, err := pipeline.Rank(context.Background(), &ranker.Request{
		ID:         "r1",
		User:       "u1",
		Candidates: []ranker.Candidate{{ID: "desk"}, {ID: "lamp"}, {ID: "chair"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, item := range resp.Items {
		fmt.Println(item.Rank, item.ID, item.Score)
	}
	// Output:
	// 1 lamp -30
	// 2 chair -45
	// 3 desk -120
}
