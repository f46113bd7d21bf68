package evaluation_test

import (
	"fmt"
	"math/rand/v2"

	"relish/evaluation"
)

// One list of three candidates, of which the second was clicked and the third was bought.
func Example() {
	scores, gains := []float64{0.9, 0.5, 0.7}, []float64{0, 1, 5}
	order, err := evaluation.Order(scores, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("order", order)
	fmt.Printf("NDCG@10 %.3f\n", evaluation.NDCG(order, gains, 10))
	fmt.Printf("reciprocal rank %.3f\n", evaluation.MRR(order, gains))
	fmt.Printf("average precision %.3f\n", evaluation.AveragePrecision(order, gains, 10))
	// Output:
	// order [0 2 1]
	// NDCG@10 0.649
	// reciprocal rank 0.500
	// average precision 0.583
}
