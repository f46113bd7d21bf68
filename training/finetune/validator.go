package finetune

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/viterin/vek/vek32"
)

const (
	negativesPerCase = 99 // besides the right text
	maxStoppingCases = 500
	maxFinalCases    = 1000
	finalCostEvals   = 6 // approximate cost of the final measurement, in evaluations
)

// evalCase is one validation case: a history, and the held-out text that came next.
type evalCase struct {
	history   []int32 // oldest first
	next      int32
	negatives []int32
}

// validator compares encoders on held-out texts. One half of these texts decides when to stop
// (stoppingCases), the other half measures the result (finalCases).
type validator struct {
	stoppingCases, finalCases []evalCase
	lastDuration              time.Duration // time that the last evaluation took
}

func newValidator(c *corpus, cfg *Config) *validator {
	r := rand.New(rand.NewPCG(cfg.Seed, 0x6a12d))
	var pools [2][]int32
	part := make([]int, len(c.tokens))
	for t, held := range c.heldOut {
		if held {
			part[t] = r.IntN(2)
			pools[part[t]] = append(pools[part[t]], int32(t))
		}
	}
	if c.pairs != nil { // questions are held out, and the answers of all are to be ranked
		pools = [2][]int32{c.pairs.answers, c.pairs.answers}
	}
	var cases [2][]evalCase
	for _, seq := range c.sequences {
		for i := 1; i < len(seq); i++ {
			next, held := seq[i], seq[i]
			if c.pairs != nil {
				held = seq[0]
			}
			if c.heldOut[held] && !slices.Contains(seq[:i], next) {
				cases[part[held]] = append(cases[part[held]],
					evalCase{history: seq[max(0, i-cfg.HistoryLength):i], next: next})
			}
		}
	}
	for k, limit := range []int{maxStoppingCases, maxFinalCases} {
		r.Shuffle(len(cases[k]),
			func(i, j int) { cases[k][i], cases[k][j] = cases[k][j], cases[k][i] })
		cases[k] = cases[k][:min(len(cases[k]), limit)]
		for i := range cases[k] {
			cases[k][i].negatives = drawNegatives(r, pools[k], &cases[k][i], c.pairs)
		}
		cases[k] = slices.DeleteFunc(cases[k],
			func(t evalCase) bool { return len(t.negatives) == 0 })
	}
	return &validator{stoppingCases: cases[0], finalCases: cases[1]}
}

// drawNegatives draws different texts from the pool that do not occur in the case. Of pairs, it
// draws none that was chosen for the question.
func drawNegatives(r *rand.Rand, pool []int32, t *evalCase, pairs *pairTexts) (out []int32) {
	used := map[int32]bool{t.next: true}
	for _, h := range t.history {
		used[h] = true
	}
	for _, i := range r.Perm(len(pool)) {
		if len(out) == negativesPerCase {
			break
		}
		if !used[pool[i]] && !pairs.isFalseNegative(t.history[0], pool[i]) {
			out = append(out, pool[i])
		}
	}
	return out
}

// encodeFunc returns the unit vectors of texts.
type encodeFunc func(ctx context.Context, texts []int32) ([][]float32, error)

// textsOf returns the texts that the cases need, each once.
func textsOf(cases []evalCase) (out []int32) {
	seen := map[int32]bool{}
	take := func(texts ...int32) {
		for _, t := range texts {
			if !seen[t] {
				seen[t], out = true, append(out, t)
			}
		}
	}
	for i := range cases {
		take(cases[i].history...)
		take(cases[i].next)
		take(cases[i].negatives...)
	}
	return out
}

// scoreCases returns the NDCG at 10 of each case. A tie counts half.
func scoreCases(
	ctx context.Context, cases []evalCase, encode encodeFunc, cfg *Config,
) ([]float64, error) {
	texts := textsOf(cases)
	vectors, err := encode(ctx, texts)
	if err != nil {
		return nil, err
	}
	byText := make(map[int32][]float32, len(texts))
	for i, t := range texts {
		byText[t] = vectors[i]
	}
	out := make([]float64, len(cases))
	for i := range cases {
		t := &cases[i]
		query := make([]float32, len(vectors[0]))
		forEachHistoryWeight(t.history, cfg, func(text int32, weight float32) {
			for j, x := range byText[text] {
				query[j] += weight * x
			}
		})
		target, rank := vek32.Dot(query, byText[t.next]), 0.0
		for _, negative := range t.negatives {
			switch s := vek32.Dot(query, byText[negative]); {
			case s == target:
				rank += 0.5
			case !(s < target): // also if either score is NaN
				rank++
			}
		}
		if rank < 10 {
			out[i] = 1 / math.Log2(2+rank)
		}
	}
	return out, nil
}

// clearlyWorse reports whether a is below b by more than one standard error of their paired
// difference.
func clearlyWorse(a, b []float64) bool {
	n, sum, squares := float64(len(a)), 0.0, 0.0
	for i := range a {
		d := a[i] - b[i]
		sum += d
		squares += d * d
	}
	mean := sum / n
	return mean < -math.Sqrt(max(0, squares/n-mean*mean)/n)
}
