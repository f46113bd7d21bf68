package api_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/ranker"
)

// Rankings go on whatever numbers the state holds, which old logs may have brought there.
func TestExtremeNumbersInTheState(t *testing.T) {
	numbers := []float64{0, 1, -5, 1e-300, 1e38, math.MaxFloat32, 1e39, -1e308, math.MaxFloat64}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		number := func() float64 { return numbers[rng.IntN(len(numbers))] }
		var list []ranker.Event
		for i := range 40 {
			value, item := number(), fmt.Sprint("i", i%8)
			list = append(list,
				ranker.Event{
					Kind: ranker.EventItem, ID: fmt.Sprint("d", i), ItemID: item,
					Fields: map[string]ranker.FieldValue{
						"price": ranker.NumberValue(number()),
						"sizes": {Kind: ranker.Numbers, Nums: []float64{number(), number()}},
					},
				},
				ranker.Event{
					Kind: ranker.EventInteraction, ID: fmt.Sprint("e", i), UserID: "u",
					ItemID: item, Action: "purchase", Value: &value,
				})
		}
		dir := t.TempDir()
		log, err := eventlog.Open(ingest.LogDir(dir), eventlog.Options{}) // it checks no event
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		s := startIn(t, dir, nil)
		got := s.recommend(t, `{"user_id":"u","explain":true,"candidates":`+candidateIDs(8)+`}`)
		if len(got.Items) != 8 || len(got.Degraded) > 0 {
			t.Errorf("seed %d: %+v", seed, got)
		}
		for _, it := range got.Items {
			if math.IsNaN(it.Score) || math.IsInf(it.Score, 0) {
				t.Errorf("seed %d: score %v", seed, it.Score)
			}
		}
	}
}
