package finetune

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomCorpus has texts of 3 to 20 tokens, histories over them, and a tenth of the texts held out.
func randomCorpus(seed uint64, texts, users int) *corpus {
	r := rand.New(rand.NewPCG(seed, 0))
	c := &corpus{rowLength: 64, heldOut: make([]bool, texts)}
	for i := range texts {
		t := make([]int32, 3+r.IntN(18))
		for k := range t {
			t[k] = int32(r.IntN(500))
		}
		c.tokens, c.heldOut[i] = append(c.tokens, t), r.Float64() < 0.1
	}
	for range users {
		seq := make([]int32, 2+r.IntN(20))
		for k := range seq {
			seq[k] = int32(r.IntN(texts))
		}
		c.sequences = append(c.sequences, seq)
	}
	return c
}

var small = batchShape{rows: 8, length: 64, texts: 64, dim: 4}

// Each text of a batch is complete in one row, and its vector depends on its own tokens only, with
// a total weight of 1.
func TestPack(t *testing.T) {
	for seed := range uint64(30) {
		c := randomCorpus(seed, 200, 0)
		p := newPack(small, c, nil)
		for text := int32(0); p.add(text); text++ {
			if p.add(text); len(p.texts) != int(text)+1 {
				t.Fatal("a text was added twice")
			}
		}
		filled := 0
		for n, text := range p.texts {
			tokens, at := c.tokens[text], p.start[n]
			if !slices.Equal(p.tokens[at:at+len(tokens)], tokens) ||
				at/p.length != (at+len(tokens)-1)/p.length {
				t.Fatalf("text %d is not complete in one row", text)
			}
			number := p.segments[at]
			row := p.segments[at/p.length*p.length:][:p.length]
			count := 0
			for _, x := range row {
				if x == number {
					count++
				}
			}
			sum := 0.0
			for slot, w := range p.pool[n*p.slots() : (n+1)*p.slots()] {
				if sum += float64(w); w != 0 && (slot < at || slot >= at+len(tokens)) {
					t.Fatalf("the vector of text %d uses a token of another text", text)
				}
			}
			if number == 0 || count != len(tokens) || math.Abs(sum-1) > 1e-5 {
				t.Fatalf("text %d has number %d on %d of %d tokens and a total weight of %v",
					text, number, count, len(tokens), sum)
			}
			filled += len(tokens)
		}
		if share := float64(filled) / float64(p.slots()); share < 0.85 {
			t.Errorf("seed %d: only %.2f of the slots are filled", seed, share)
		}
	}
}
