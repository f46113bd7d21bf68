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
	negativesPerCase = 99 // beside the right text
	maxStoppingCases = 500
	maxFinalCases    = 1000
	finalCostEvals   = 6 // about what the end costs, in looks
)

// evalCase is a case of the guard: a history and the text that came next, which took no part in training.
type evalCase struct {
	history   []int32 // oldest first
	next      int32
	negatives []int32
}

// validator compares encoders on texts that took no part. Half of these are for choosing when to stop (watch), the other half
// for saying what came of it (judge).
type validator struct {
	stoppingCases, finalCases []evalCase
	lastDuration              time.Duration // of the last look
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
	var turns [2][]evalCase
	for _, seq := range c.sequences {
		for i := 1; i < len(seq); i++ {
			if next := seq[i]; c.heldOut[next] && !slices.Contains(seq[:i], next) {
				turns[part[next]] = append(turns[part[next]],
					evalCase{history: seq[max(0, i-cfg.HistoryLength):i], next: next})
			}
		}
	}
	for k, most := range []int{maxStoppingCases, maxFinalCases} {
		r.Shuffle(len(turns[k]),
			func(i, j int) { turns[k][i], turns[k][j] = turns[k][j], turns[k][i] })
		turns[k] = turns[k][:min(len(turns[k]), most)]
		for i := range turns[k] {
			turns[k][i].negatives = drawNegatives(r, pools[k], &turns[k][i])
		}
		turns[k] = slices.DeleteFunc(turns[k],
			func(t evalCase) bool { return len(t.negatives) == 0 })
	}
	return &validator{stoppingCases: turns[0], finalCases: turns[1]}
}

// drawNegatives takes texts out of the pool that the case does not hold, all different.
func drawNegatives(r *rand.Rand, pool []int32, t *evalCase) (out []int32) {
	taken := map[int32]bool{t.next: true}
	for _, h := range t.history {
		taken[h] = true
	}
	for _, i := range r.Perm(len(pool)) {
		if len(out) == negativesPerCase {
			break
		}
		if !taken[pool[i]] {
			out = append(out, pool[i])
		}
	}
	return out
}

// encodeFunc gives the unit vectors of texts.
type encodeFunc func(ctx context.Context, texts []int32) ([][]float32, error)

// textsOf are the texts that the cases need, each once.
func textsOf(turns []evalCase) (out []int32) {
	seen := map[int32]bool{}
	take := func(texts ...int32) {
		for _, t := range texts {
			if !seen[t] {
				seen[t], out = true, append(out, t)
			}
		}
	}
	for i := range turns {
		take(turns[i].history...)
		take(turns[i].next)
		take(turns[i].negatives...)
	}
	return out
}

// scoreCases gives each case's NDCG at 10. Ties count as half lost.
func scoreCases(
	ctx context.Context, turns []evalCase, by encodeFunc, cfg *Config,
) ([]float64, error) {
	texts := textsOf(turns)
	vectors, err := by(ctx, texts)
	if err != nil {
		return nil, err
	}
	of := make(map[int32][]float32, len(texts))
	for i, t := range texts {
		of[t] = vectors[i]
	}
	out := make([]float64, len(turns))
	for i := range turns {
		t := &turns[i]
		query := make([]float32, len(vectors[0]))
		forEachHistoryWeight(t.history, cfg, func(text int32, weight float32) {
			for j, x := range of[text] {
				query[j] += weight * x
			}
		})
		own, above := vek32.Dot(query, of[t.next]), 0.0
		for _, rival := range t.negatives {
			switch s := vek32.Dot(query, of[rival]); {
			case s == own:
				above += 0.5
			case !(s < own): // also where one of them is no number
				above++
			}
		}
		if above < 10 {
			out[i] = 1 / math.Log2(2+above)
		}
	}
	return out, nil
}
