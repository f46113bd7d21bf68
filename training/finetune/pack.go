package finetune

import (
	"slices"

	"github.com/gomlx/gomlx/pkg/core/tensors"
)

// slotsPerText limits the texts of a batch to its slots divided by this number. Few texts have
// fewer tokens.
const slotsPerText = 8

// batchShape is what all batches have in common.
type batchShape struct {
	rows, length int // of tokens
	texts        int // limit of the texts, and of the queries
	dim          int
	clsPooling   bool // the vector of a text is that of its first token, not the mean
}

func (s *batchShape) slots() int { return s.rows * s.length }

// pack puts several texts into each row, so that few slots stay empty even if the lengths of texts
// differ much.
type pack struct {
	batchShape
	corpus *corpus
	// by text: output of the layers that are not trained; nil if all are trained
	lowerStates [][]float32

	free     []int   // by row: free slots
	rowTexts []int32 // by row: number of texts
	texts    []int32 // texts of the batch, in the order of their vectors
	index    map[int32]int
	start    []int // by vector: first slot of the text

	tokens, positions, segments []int32
	states                      []float32 // used instead of tokens, if not nil
	pool                        []float32
}

func newPack(s batchShape, c *corpus, lower [][]float32) *pack {
	p := &pack{
		batchShape:  s,
		corpus:      c,
		lowerStates: lower,
		free:        slices.Repeat([]int{s.length}, s.rows),
		rowTexts:    make([]int32, s.rows),
		index:       map[int32]int{},
		tokens:      make([]int32, s.slots()),
		positions:   make([]int32, s.slots()),
		segments:    make([]int32, s.slots()),
		pool:        make([]float32, s.texts*s.slots()),
	}
	if lower != nil {
		p.states = make([]float32, s.slots()*s.dim)
	}
	return p
}

// add adds a text to the batch and reports whether the batch contains it now. A new text goes into
// the fullest row that has enough free slots.
func (p *pack) add(t int32) bool {
	if _, found := p.index[t]; found {
		return true
	}
	tokens := p.corpus.tokens[t]
	row := -1
	for i, free := range p.free {
		if free >= len(tokens) && (row < 0 || free < p.free[row]) {
			row = i
		}
	}
	if row < 0 || len(p.texts) == p.batchShape.texts {
		return false
	}
	first := (row+1)*p.length - p.free[row]
	p.free[row] -= len(tokens)
	p.rowTexts[row]++
	n := len(p.texts)
	p.index[t], p.texts, p.start = n, append(p.texts, t), append(p.start, first)
	pooled := len(tokens)
	if p.clsPooling {
		pooled = 1
	}
	for k, token := range tokens {
		slot := first + k
		p.tokens[slot], p.positions[slot], p.segments[slot] = token, int32(k), p.rowTexts[row]
		if k < pooled {
			p.pool[n*p.slots()+slot] = 1 / float32(pooled)
		}
	}
	if p.lowerStates != nil {
		copy(p.states[first*p.dim:], p.lowerStates[t])
	}
	return true
}

// tensors returns the batch in the order of the network's inputs.
func (p *pack) tensors() []any {
	in := []any{tensors.FromFlatDataAndDimensions(p.tokens, p.slots())}
	if p.lowerStates != nil {
		in[0] = tensors.FromFlatDataAndDimensions(p.states, p.slots(), p.dim)
	}
	return append(in, tensors.FromFlatDataAndDimensions(p.positions, p.slots()),
		tensors.FromFlatDataAndDimensions(p.segments, p.rows, p.length),
		tensors.FromFlatDataAndDimensions(p.pool, p.batchShape.texts, p.slots()))
}
