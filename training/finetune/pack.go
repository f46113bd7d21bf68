package finetune

import (
	"slices"

	"github.com/gomlx/gomlx/pkg/core/tensors"
)

// slotsPerText bounds the texts of a batch: few are shorter.
const slotsPerText = 8

// batchShape is what every batch has in common.
type batchShape struct {
	rows, length int // of tokens
	texts        int // at most, and so many queries
	dim          int
	clsPooling   bool // a text's vector is its first token's, not the mean
}

func (s *batchShape) slots() int { return s.rows * s.length }

// pack puts several texts into each row, so that hardly a slot stays empty whatever their lengths.
type pack struct {
	batchShape
	corpus      *corpus
	lowerStates [][]float32 // by text: the output of the layers that are not trained, nil where all are

	room     []int   // by row
	rowTexts []int32 // texts of a row
	texts    []int32 // of the batch, in the order of their vectors
	index    map[int32]int
	start    []int // the slot at which each begins

	tokens, positions, segments []int32
	states                      []float32 // in place of tokens
	pool                        []float32
}

func newPack(s batchShape, c *corpus, lower [][]float32) *pack {
	p := &pack{
		batchShape:  s,
		corpus:      c,
		lowerStates: lower,
		room:        slices.Repeat([]int{s.length}, s.rows),
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

// add sees to it that the batch has a text, and reports whether it has room for it. It goes into the fullest row that
// takes it.
func (p *pack) add(t int32) bool {
	if _, there := p.index[t]; there {
		return true
	}
	tokens := p.corpus.tokens[t]
	row := -1
	for i, room := range p.room {
		if room >= len(tokens) && (row < 0 || room < p.room[row]) {
			row = i
		}
	}
	if row < 0 || len(p.texts) == p.batchShape.texts {
		return false
	}
	at := (row+1)*p.length - p.room[row]
	p.room[row] -= len(tokens)
	p.rowTexts[row]++
	n := len(p.texts)
	p.index[t], p.texts, p.start = n, append(p.texts, t), append(p.start, at)
	counts := len(tokens)
	if p.clsPooling {
		counts = 1
	}
	for k, token := range tokens {
		p.tokens[at+k], p.positions[at+k], p.segments[at+k] = token, int32(k), p.rowTexts[row]
		if k < counts {
			p.pool[n*p.slots()+at+k] = 1 / float32(counts)
		}
	}
	if p.lowerStates != nil {
		copy(p.states[at*p.dim:], p.lowerStates[t])
	}
	return true
}

// tensors are the batch as the network's graph takes it.
func (p *pack) tensors() []any {
	in := []any{tensors.FromFlatDataAndDimensions(p.tokens, p.slots())}
	if p.lowerStates != nil {
		in[0] = tensors.FromFlatDataAndDimensions(p.states, p.slots(), p.dim)
	}
	return append(in, tensors.FromFlatDataAndDimensions(p.positions, p.slots()),
		tensors.FromFlatDataAndDimensions(p.segments, p.rows, p.length),
		tensors.FromFlatDataAndDimensions(p.pool, p.batchShape.texts, p.slots()))
}
