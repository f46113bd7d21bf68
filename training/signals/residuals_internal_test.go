package signals

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/examination"
	"relish/training/replay"
)

// steepCurve is an examination that falls from the top to the end of lists of ten items: the same
// items are shown everywhere, and are clicked less the lower they stand.
func steepCurve(t *testing.T) *examination.Curve {
	t.Helper()
	const items = 10
	r, log := rand.New(rand.NewPCG(4, 2)), &replay.Log{}
	for n := range uint64(4000) {
		l := replay.LoggedList{Seq: n + 1, Gains: make([]float32, items)}
		for k, item := range r.Perm(items) {
			l.Items = append(l.Items, int32(item))
			if r.Float64() < 0.5*math.Pow(0.7, float64(k)) {
				l.Gains[k] = 1
			}
		}
		log.Lists = append(log.Lists, l)
	}
	curve := examination.FromLog(log, math.MaxUint64).Curve
	if last := curve.Examination(items - 1); last > 0.5 {
		t.Fatalf("the examination at the end is %g: %v", last, curve)
	}
	return curve
}

// Training learns from the residuals that a server computes for the same list, with the same
// examination of each position.
func TestTrainedResidualsAreServed(t *testing.T) {
	c := &Corpus{Examination: steepCurve(t)}
	gp := &served.ResidualGP{LogOdds: []float32{0.5, -1, 0, 2, -0.3, 0.1}}
	for position := range examinedPositions {
		gp.Examination = append(gp.Examination, float32(c.Examination.Examination(position)))
	}
	l := &List{Items: []int32{3, 0, 5, 1, 2, 4}, Gains: []float32{0, 1, 0, 0, 5, 0}}
	var shown []ranker.Shown // the server keeps the last item first
	var indices []int32
	for k, item := range slices.Backward(l.Items) {
		shown = append(shown, ranker.Shown{Clicked: l.Gains[k] > 0})
		indices = append(indices, item)
	}
	byItem := func(a, b served.Residual) int { return int(a.Item - b.Item) }
	want := gp.Residuals(shown, indices)
	got := listResiduals(c, l, gp.LogOdds)
	slices.SortFunc(want, byItem)
	slices.SortFunc(got, byItem)
	if !slices.Equal(got, want) || len(got) != len(l.Items) {
		t.Errorf("training has %+v, the server %+v", got, want)
	}
	for _, gains := range [][]float32{make([]float32, 6), {1, 1, 1, 1, 1, 1}} {
		if got := listResiduals(c, &List{Items: l.Items, Gains: gains}, gp.LogOdds); got != nil {
			t.Errorf("gains %v say nothing, but have the residuals %+v", gains, got)
		}
	}
}

// The number of impressions that a prediction counts as is found again: the more the click rates of
// items differ from the prediction, the fewer.
func TestPriorImpressionsAreFoundAgain(t *testing.T) {
	const items, shown, meanLogOdds = 1500, 100, -1.5
	for _, impressions := range []float64{4, 20, 100} {
		r := rand.New(rand.NewPCG(uint64(impressions), 9))
		logOdds, counts := make([]float64, items), make([]ranker.ItemCounts, items)
		for i := range counts {
			logOdds[i] = meanLogOdds + r.NormFloat64()
			p := served.Sigmoid(logOdds[i])
			rate := distuv.Beta{Alpha: impressions * p, Beta: impressions * (1 - p), Src: r}.Rand()
			counts[i] = ranker.ItemCounts{
				Shown: shown, Actions: distuv.Binomial{N: shown, P: rate, Src: r}.Rand(),
			}
		}
		_, got := clickLikelihood(counts, func(i int) float64 { return logOdds[i] })
		if got < impressions*0.6 || got > impressions*1.6 {
			t.Errorf("predictions that count as %g impressions are taken for %g", impressions, got)
		}
	}
}
