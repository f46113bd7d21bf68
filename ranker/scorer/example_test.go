package scorer_test

import (
	"fmt"
	"log"
	"math"

	"relish/ranker"
	"relish/ranker/scorer"
)

// The prior needs no training. It ranks by what is known: here the click rate of the item, and the
// user's click rate of the item's genre.
func ExamplePrior() {
	schema, err := scorer.PriorSchema([]string{"genre"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	prior, err := scorer.NewPrior(schema, nil)
	if err != nil {
		log.Fatal(err)
	}
	m := &ranker.Matrix{N: 1, Columns: schema.Columns()}
	for _, c := range m.Columns {
		switch c.Name {
		case "item.rate":
			m.Data = append(m.Data, 0.4)
		case "user_field.rate.genre":
			m.Data = append(m.Data, 1.1)
		default:
			m.Data = append(m.Data, float32(math.NaN())) // missing
		}
	}
	scores, contributions := make([]float64, 1), make([]float64, len(m.Columns))
	if err := prior.Score(m, scores); err != nil {
		log.Fatal(err)
	}
	if _, err := prior.Explain(m, 0, contributions); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("score %.2f\n", scores[0])
	for i, c := range m.Columns {
		if contributions[i] != 0 {
			fmt.Printf("%s %+.2f\n", c.Name, contributions[i])
		}
	}
	// Output:
	// score 1.50
	// item.rate +0.40
	// user_field.rate.genre +1.10
}
