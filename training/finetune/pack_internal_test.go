package finetune

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomCorpus has texts of 3 to 20 tokens, histories over them, and a tenth held out.
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

// Every text of a batch lies whole in one row, apart from others, and counts 1 in its own vector alone.
func TestPack(t *testing.T) {
	for seed := range uint64(30) {
		c := randomCorpus(seed, 200, 0)
		p := newPack(small, c, nil)
		for text := int32(0); p.add(text); text++ {
			if p.add(text); len(p.texts) != int(text)+1 {
				t.Fatal("a text that is there was added again")
			}
		}
		filled := 0
		for n, text := range p.texts {
			tokens, at := c.tokens[text], p.start[n]
			if !slices.Equal(p.tokens[at:at+len(tokens)], tokens) ||
				at/p.length != (at+len(tokens)-1)/p.length {
				t.Fatalf("text %d does not lie whole in a row", text)
			}
			own := p.segments[at]
			row := p.segments[at/p.length*p.length:][:p.length]
			count := 0
			for _, x := range row {
				if x == own {
					count++
				}
			}
			sum := 0.0
			for slot, w := range p.pool[n*p.slots() : (n+1)*p.slots()] {
				if sum += float64(w); w != 0 && (slot < at || slot >= at+len(tokens)) {
					t.Fatalf("text %d takes a token of another", text)
				}
			}
			if own == 0 || count != len(tokens) || math.Abs(sum-1) > 1e-5 {
				t.Fatalf("text %d: number %d on %d tokens of %d, weights %v", text, own, count,
					len(tokens), sum)
			}
			filled += len(tokens)
		}
		if share := float64(filled) / float64(p.slots()); share < 0.85 {
			t.Errorf("seed %d: only %.2f of the slots are filled", seed, share)
		}
	}
}

// A query looks back from its target, nothing else that its user did is a negative, and what is held out does not occur.
func TestLessons(t *testing.T) {
	cfg := DefaultConfig()
	c := randomCorpus(1, 300, 200)
	l := newSampler(c, &cfg, small, nil)
	queries := 0
	for range 50 {
		b := l.nextBatch()
		queries += b.queries
		for _, text := range b.texts {
			if c.heldOut[text] {
				t.Fatal("a text that is held out is in a batch")
			}
		}
		n := small.texts
		for q := range n {
			mix, shift, target := b.queryWeights[q*n:(q+1)*n], b.shift[q*n:(q+1)*n], b.target[q*n:(q+1)*n]
			at := slices.Index(target, 1)
			if (at >= 0) != (q < b.queries) {
				t.Fatalf("query %d of %d has its target at %d", q, b.queries, at)
			}
			if at < 0 {
				continue
			}
			if shift[at] == maskedScore || mix[at] != 0 {
				t.Fatal("the target is out of reach, or in its own history")
			}
			weight := float32(0)
			for k, w := range mix {
				if weight += w; w > 0 && shift[k] != maskedScore {
					t.Fatal("a text of the history is a negative")
				}
				if k >= len(b.texts) && shift[k] != maskedScore {
					t.Fatal("an empty place is a negative")
				}
			}
			if weight < 1 {
				t.Fatalf("a history weighs %v", weight)
			}
		}
	}
	if queries < 50*10 {
		t.Errorf("only %d queries in 50 batches", queries)
	}
}

// Where few texts fit into a batch, it holds several users all the same, so that there is something to tell apart.
func TestLongTexts(t *testing.T) {
	cfg := DefaultConfig()
	c := randomCorpus(3, 300, 200)
	c.rowLength = cfg.BatchTokens / minBatchRows
	for i := range c.tokens {
		c.tokens[i] = slices.Repeat([]int32{1}, 100+i%(c.rowLength-100))
	}
	s := batchShape{rows: minBatchRows, length: c.rowLength, texts: cfg.BatchTokens / slotsPerText}
	l, asked, alone := newSampler(c, &cfg, s, nil), 0, 0
	for range 50 {
		b := l.nextBatch()
		for q := range b.queries {
			asked++
			shift, target := b.shift[q*s.texts:(q+1)*s.texts], b.target[q*s.texts:(q+1)*s.texts]
			if rivals := slices.IndexFunc(shift, func(x float32) bool { return x == 0 }); rivals < 0 ||
				target[rivals] == 1 && !slices.Contains(shift[rivals+1:], 0) {
				alone++
			}
		}
	}
	if asked < 50 || alone > asked/20 {
		t.Errorf("%d of %d queries have nothing to tell their target from", alone, asked)
	}
}

// Where some users have something new, half of the lessons are theirs.
func TestFresh(t *testing.T) {
	cfg := DefaultConfig()
	c := randomCorpus(2, 400, 300)
	for i := range c.sequences { // the first 30 users have texts of their own
		for k := range c.sequences[i] {
			if c.sequences[i][k] %= 200; i >= 30 {
				c.sequences[i][k] += 200
			}
		}
		if i < 30 {
			c.newEvents = append(c.newEvents, i)
		}
	}
	l := newSampler(c, &cfg, small, nil)
	fresh, all := 0, 0
	for range 100 {
		for _, text := range l.nextBatch().texts {
			if all++; text < 200 {
				fresh++
			}
		}
	}
	if share := float64(fresh) / float64(all); share < 0.4 || share > 0.7 {
		t.Errorf("%.2f of the texts are of users with something new", share)
	}
}

// With all of LogQ, a text that is taken often is shifted down by the logarithm of how often, and with none of it not.
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
		l := newSampler(c, &cfg, small, nil)
		if got := float64(l.shift[0] - l.shift[2]); math.Abs(got-want) > 1e-6 {
			t.Errorf("LogQ %v: shifted by %v, want %v", logQ, got, want)
		}
	}
}
