package encoder

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/viterin/vek/vek32"
)

const (
	rivals      = 99 // beside the right text
	mostWatched = 500
	mostJudged  = 1000
	judgeLooks  = 6 // about what the end costs, in looks
)

// turn is a case of the guard: a history and the text that came next, which took no part in training.
type turn struct {
	history []int32 // oldest first
	next    int32
	rivals  []int32
}

// guard compares encoders on texts that took no part. Half of these are for choosing when to stop (watch), the other half
// for saying what came of it (judge).
type guard struct {
	watch, judge []turn
	took         time.Duration // of the last look
}

func newGuard(c *corpus, cfg *Config) *guard {
	r := rand.New(rand.NewPCG(cfg.Seed, 0x6a12d))
	var pools [2][]int32
	part := make([]int, len(c.tokens))
	for t, held := range c.held {
		if held {
			part[t] = r.IntN(2)
			pools[part[t]] = append(pools[part[t]], int32(t))
		}
	}
	var turns [2][]turn
	for _, seq := range c.sequences {
		for i := 1; i < len(seq); i++ {
			if next := seq[i]; c.held[next] && !slices.Contains(seq[:i], next) {
				turns[part[next]] = append(turns[part[next]], turn{history: seq[max(0, i-cfg.History):i], next: next})
			}
		}
	}
	for k, most := range []int{mostWatched, mostJudged} {
		r.Shuffle(len(turns[k]), func(i, j int) { turns[k][i], turns[k][j] = turns[k][j], turns[k][i] })
		turns[k] = turns[k][:min(len(turns[k]), most)]
		for i := range turns[k] {
			turns[k][i].rivals = draw(r, pools[k], &turns[k][i])
		}
		turns[k] = slices.DeleteFunc(turns[k], func(t turn) bool { return len(t.rivals) == 0 })
	}
	return &guard{watch: turns[0], judge: turns[1]}
}

// draw takes texts out of the pool that the case does not hold, all different.
func draw(r *rand.Rand, pool []int32, t *turn) (out []int32) {
	taken := map[int32]bool{t.next: true}
	for _, h := range t.history {
		taken[h] = true
	}
	for _, i := range r.Perm(len(pool)) {
		if len(out) == rivals {
			break
		}
		if !taken[pool[i]] {
			out = append(out, pool[i])
		}
	}
	return out
}

// encode gives the unit vectors of texts.
type encode func(ctx context.Context, texts []int32) ([][]float32, error)

// textsOf are the texts that the cases need, each once.
func textsOf(turns []turn) (out []int32) {
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
		take(turns[i].rivals...)
	}
	return out
}

// score gives each case's NDCG at 10. Ties count as half lost.
func score(ctx context.Context, turns []turn, by encode, cfg *Config) ([]float64, error) {
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
		weigh(t.history, cfg, func(text int32, weight float32) {
			for j, x := range of[text] {
				query[j] += weight * x
			}
		})
		own, above := vek32.Dot(query, of[t.next]), 0.0
		for _, rival := range t.rivals {
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
