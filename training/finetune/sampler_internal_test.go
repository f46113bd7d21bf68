package finetune

import (
	"math"
	"slices"
	"testing"
)

// A query consists of texts before its target. No other text of its user is a negative, and no
// held-out text occurs.
func TestBatchQueries(t *testing.T) {
	cfg := DefaultConfig()
	c := randomCorpus(1, 300, 200)
	s := newSampler(c, &cfg, small, nil)
	queries := 0
	for range 50 {
		b := s.nextBatch()
		queries += b.queries
		for _, text := range b.texts {
			if c.heldOut[text] {
				t.Fatal("a batch contains a held-out text")
			}
		}
		n := small.texts
		for q := range n {
			weights, shift, target := b.queryWeights[q*n:(q+1)*n], b.shift[q*n:(q+1)*n],
				b.target[q*n:(q+1)*n]
			targetIndex := slices.Index(target, 1)
			if (targetIndex >= 0) != (q < b.queries) {
				t.Fatalf("query %d of %d has its target at %d", q, b.queries, targetIndex)
			}
			if targetIndex < 0 {
				continue
			}
			if shift[targetIndex] == maskedScore || weights[targetIndex] != 0 {
				t.Fatal("the target is masked or in its own history")
			}
			weight := float32(0)
			for k, w := range weights {
				if weight += w; w > 0 && shift[k] != maskedScore {
					t.Fatal("a text of the history is a negative")
				}
				if k >= len(b.texts) && shift[k] != maskedScore {
					t.Fatal("an empty position is a negative")
				}
			}
			if weight < 1 {
				t.Fatalf("the weights of a history add up to %v", weight)
			}
		}
	}
	if queries < 50*10 {
		t.Errorf("only %d queries in 50 batches", queries)
	}
}

// If few texts fit into a batch, it still holds several users, so that queries have negatives.
func TestLongTexts(t *testing.T) {
	cfg := DefaultConfig()
	c := randomCorpus(3, 300, 200)
	c.rowLength = cfg.BatchTokens / minBatchRows
	for i := range c.tokens {
		c.tokens[i] = slices.Repeat([]int32{1}, 100+i%(c.rowLength-100))
	}
	n := cfg.BatchTokens / slotsPerText
	shape := batchShape{rows: minBatchRows, length: c.rowLength, texts: n}
	s := newSampler(c, &cfg, shape, nil)
	queries, withoutNegatives := 0, 0
	for range 50 {
		b := s.nextBatch()
		for q := range b.queries {
			queries++
			shift, target := b.shift[q*n:(q+1)*n], b.target[q*n:(q+1)*n]
			negatives := 0
			for text := range n {
				if shift[text] == 0 && target[text] == 0 {
					negatives++
				}
			}
			if negatives == 0 {
				withoutNegatives++
			}
		}
	}
	if queries < 50 || withoutNegatives > queries/20 {
		t.Errorf("%d of %d queries have no negatives", withoutNegatives, queries)
	}
}

// If some users have new events, they make up half of the sequences.
func TestNewEvents(t *testing.T) {
	cfg := DefaultConfig()
	c := randomCorpus(2, 400, 300)
	for i := range c.sequences { // the first 30 users have texts that nobody else has
		for k := range c.sequences[i] {
			if c.sequences[i][k] %= 200; i >= 30 {
				c.sequences[i][k] += 200
			}
		}
		if i < 30 {
			c.newEvents = append(c.newEvents, i)
		}
	}
	s := newSampler(c, &cfg, small, nil)
	newTexts, all := 0, 0
	for range 100 {
		for _, text := range s.nextBatch().texts {
			if all++; text < 200 {
				newTexts++
			}
		}
	}
	if share := float64(newTexts) / float64(all); share < 0.4 || share > 0.7 {
		t.Errorf("%.2f of the texts come from users with new events", share)
	}
}

// With LogQ 1, the shift of a text is the negative logarithm of its relative frequency. With LogQ 0
// there is no shift.
func TestPopularity(t *testing.T) {
	c := &corpus{
		rowLength: 64,
		tokens:    [][]int32{{1, 2, 3}, {1, 2, 3}, {1, 2, 3}},
		heldOut:   make([]bool, 3),
	}
	for range 4 {
		c.sequences = append(c.sequences, []int32{0, 1})
	}
	c.sequences = append(c.sequences, []int32{2, 1})
	for logQ, want := range map[float64]float64{0: 0, 1: -math.Log(4)} {
		cfg := DefaultConfig()
		cfg.LogQ = logQ
		s := newSampler(c, &cfg, small, nil)
		if got := float64(s.shift[0] - s.shift[2]); math.Abs(got-want) > 1e-6 {
			t.Errorf("LogQ %v: the shift is %v, want %v", logQ, got, want)
		}
	}
}
