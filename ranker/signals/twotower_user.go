package signals

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// This file is the user tower, as training/twotower defines it, in plain Go. It takes some tens of
// microseconds at width 64 and 30 items. A call of a tensor runtime would cost more than that.

// UserVector is the user tower: it encodes a history as a vector of length Dim. The history is
// oldest first and has 1 to HistoryLength item vectors. It is not changed.
func (m *TwoTower) UserVector(history [][]float32) []float32 {
	d := m.weights.Dim
	var user []float32
	if m.weights.Layers == 0 {
		user = m.pool(history)
	} else {
		x := make([][]float32, len(history))
		for i, v := range history {
			x[i] = append(make([]float32, 0, d), v...)
		}
		for i := range m.layers {
			from := 0
			if i == len(m.layers)-1 {
				from = len(x) - 1 // only the newest position is read
			}
			m.layers[i].forward(x, from)
		}
		user = x[len(x)-1]
	}
	out := make([]float32, d)
	layerNorm(user, out)
	vek32.Mul_Inplace(out, m.weights.Gain)
	return out
}

// pool returns the mean of the history, weighted by a softmax of recency and content.
func (m *TwoTower) pool(history [][]float32) []float32 {
	weights, normed := make([]float32, len(history)), make([]float32, m.weights.Dim)
	for k, v := range history {
		layerNorm(v, normed)
		weights[k] = vek32.Dot(normed, m.weights.PoolKey) + m.weights.Recency[len(history)-1-k]
	}
	softmax(weights)
	out := make([]float32, m.weights.Dim)
	for k, v := range history {
		addScaled(out, v, weights[k])
	}
	return out
}

// attentionLayer is an AttentionBlock whose matrices are laid out in the order in which they are
// read.
type attentionLayer struct {
	dim, heads, length          int
	query, value, out, up, down []float32 // outputs x inputs
	key                         []float32 // inputs x outputs
	positionBias                []float32 // heads x length
	upBias, downBias            []float32
	scale                       float32 // 1 / sqrt(width of a head)
}

func newAttentionLayer(w *TwoTowerWeights, b *AttentionBlock) attentionLayer {
	d := w.Dim
	return attentionLayer{
		dim:          d,
		heads:        w.Heads,
		length:       w.HistoryLength,
		query:        transpose(b.Query, d, d),
		value:        transpose(b.Value, d, d),
		out:          transpose(b.Out, d, d),
		up:           transpose(b.Up, d, 2*d),
		down:         transpose(b.Down, 2*d, d),
		key:          b.Key,
		positionBias: b.PositionBias,
		upBias:       b.UpBias,
		downBias:     b.DownBias,
		scale:        float32(1 / math.Sqrt(float64(d/w.Heads))),
	}
}

// forward passes the positions from index from on through the layer, in place. Earlier positions
// are read and not changed.
func (l *attentionLayer) forward(x [][]float32, from int) {
	d := l.dim
	normed := make([][]float32, len(x))
	memory := make([]float32, len(x)*d)
	for i, v := range x {
		normed[i] = memory[i*d : (i+1)*d]
		layerNorm(v, normed[i])
	}
	scratch := make([]float32, 4*d)
	for i := from; i < len(x); i++ {
		mixed, sum := scratch[:d], scratch[d:2*d]
		l.attend(normed[:i+1], mixed)
		multiply(l.out, mixed, sum)
		vek32.Add_Inplace(x[i], sum)
		hidden := scratch[2*d:]
		layerNorm(x[i], mixed)
		multiply(l.up, mixed, hidden)
		vek32.Add_Inplace(hidden, l.upBias)
		for k, v := range hidden {
			hidden[k] = max(v, 0)
		}
		multiply(l.down, hidden, sum)
		vek32.Add_Inplace(x[i], sum)
		vek32.Add_Inplace(x[i], l.downBias)
	}
}

// attend writes to out the attention of the last position of h over all positions.
//
// It never computes the keys and values of all positions. The query is mapped back through the key
// matrix once, and the value matrix is applied to the weighted mean of the positions. Both are
// linear, so the result is the same.
func (l *attentionLayer) attend(h [][]float32, out []float32) {
	d, width := l.dim, l.dim/l.heads
	last := len(h) - 1
	query, mapped, weights := make([]float32, d), make([]float32, d), make([]float32, len(h))
	multiply(l.query, h[last], query)
	positions := newRowSet(d)
	defer positions.free()
	for _, v := range h {
		positions.add(v)
	}
	for head := range l.heads {
		headQuery := query[head*width : (head+1)*width]
		multiplyRows(l.key[head*width:], d, headQuery, mapped)
		for k, product := range positions.dots(mapped) {
			weights[k] = product*l.scale + l.positionBias[head*l.length+last-k]
		}
		softmax(weights)
		mean := mapped
		clear(mean)
		positions.addTo(mean, weights)
		multiply(l.value[head*width*d:], mean, out[head*width:(head+1)*width])
	}
}

// layerNorm writes x minus its mean, divided by its standard deviation, to out.
func layerNorm(x, out []float32) {
	mean := vek32.Mean(x)
	variance := float32(0)
	for i, v := range x {
		out[i] = v - mean
		variance += out[i] * out[i]
	}
	variance /= float32(len(x))
	vek32.MulNumber_Inplace(out, 1/float32(math.Sqrt(float64(variance)+1e-6)))
}
