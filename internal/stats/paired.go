package stats

import "fmt"

// PairedBootstrap returns the mean of a - b with its bootstrap interval, where a[i] and b[i] are two
// scorers' results on the same list i. Lists differ far more than scorers do, and pairing takes that
// out: the interval is much narrower than the two scorers' own (Efron and Tibshirani 1993, ch. 13,
// over the differences; for rankings: Sakai, Evaluating evaluation metrics based on the bootstrap,
// SIGIR 2006). Unequal lengths and values that are not finite are errors.
func PairedBootstrap(a, b []float64, seed uint64) (Interval, error) {
	if len(a) != len(b) {
		return Interval{}, fmt.Errorf("%d results against %d: pairs need the same lists in the same order", len(a), len(b))
	}
	differences := make([]float64, len(a))
	for i := range a {
		differences[i] = a[i] - b[i]
	}
	return Bootstrap(differences, seed)
}
