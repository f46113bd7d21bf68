package match

import (
	"context"
	"math"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// Content predicts from an item's content alone how strong it is, for items that nobody has met:
//
//	content.strength  log-odds of a click; of a log without impressions, log1p of the interactions
//
// It is a ridge regression over the item's place by content and its numeric fields. An item that the training knew has
// the value that the other items predict for it (leave-one-out), even where it is ranked as new: its own clicks must not
// come back as content, and that is what the regression would say of it if nobody had met it.
type Content struct {
	Items    *ranker.ItemTable
	Known    []float32 // by item: the leave-one-out prediction
	Space    *Space
	Numbers  []string  // numeric fields
	Centre   []float32 // aligned with Numbers
	Scale    []float32 // one over the standard deviation
	Weights  []float32 // Space.Dim(), then two per number: its standardised value, and 1 if it is there
	Constant float64
}

var _ Learned = (*Content)(nil)

// KindContent is the kind of Content's file.
const KindContent = "content"

var contentColumns = []string{"content.strength"}

// Kind implements Learned.
func (*Content) Kind() string { return KindContent }

// Columns implements ranker.Matcher.
func (*Content) Columns() []string { return contentColumns }

// Match implements ranker.Matcher.
func (c *Content) Match(_ context.Context, in *ranker.MatchInput, out []float32) error {
	n := in.Numbers(c.Items)
	var row []float32
	for i, item := range n.Candidates {
		if cand := &in.Request.Candidates[i]; cand.New {
			item = c.Items.Number(cand.ID)
		}
		if item >= 0 {
			out[i] = c.Known[item]
			continue
		}
		if out[i] = missing; in.State.Items[i] == nil {
			continue
		}
		if row == nil {
			row = make([]float32, len(c.Weights))
		}
		c.Row(in.State.Items[i], in.ItemVectors[i], row)
		if out[i] = float32(c.Constant); len(row) > 0 {
			out[i] += vek32.Dot(row, c.Weights)
		}
	}
	return nil
}

// Row writes what the regression reads of an item to out, of length Space.Dim() + 2 len(Numbers). vector is its text's,
// nil for none.
func (c *Content) Row(info *ranker.ItemInfo, vector, out []float32) {
	d := c.Space.Dim()
	c.Space.Place(info, vector, out[:d])
	for k, name := range c.Numbers {
		x, there := float32(0), float32(0)
		if v, ok := info.Fields[name]; ok && (v.Kind == ranker.Number || v.Kind == ranker.Bool) {
			// Extremes are cut: one film with a thousand times the budget must not decide.
			x, there = max(-4, min(4, (Squash(v.Num)-c.Centre[k])*c.Scale[k])), 1
		}
		out[d+2*k], out[d+2*k+1] = x, there
	}
}

// Squash takes the logarithm of a number's size and keeps its sign, as counts and prices ask for.
func Squash(x float64) float32 { return float32(math.Copysign(math.Log1p(math.Abs(x)), x)) }

// Encode implements Learned.
func (c *Content) Encode() []byte {
	w := newWriter(KindContent)
	w.texts(c.Items.IDs())
	w.floats(c.Known)
	c.Space.encode(w)
	w.texts(c.Numbers)
	w.floats(c.Centre)
	w.floats(c.Scale)
	w.floats(c.Weights)
	w.number(c.Constant)
	return w.buf
}

func decodeContent(data []byte, shared *ranker.ItemTable) (Learned, *ranker.ItemTable, error) {
	r := newReader(KindContent, data)
	c := &Content{Items: r.items(shared)}
	c.Known, c.Space, c.Numbers = r.floats(c.Items.Len()), r.space(), r.texts()
	k := len(c.Numbers)
	c.Centre, c.Scale = r.floats(k), r.floats(k)
	c.Weights, c.Constant = r.floats(c.Space.Dim()+2*k), r.number()
	return c, c.Items, r.end()
}
