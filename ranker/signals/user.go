package signals

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// The user half of the match model, as training/match/neural defines it, in plain Go: some tens of microseconds at
// width 64 and 30 items, where a call of a runtime and its tensors would cost more than the sums.

// UserVector reads a history (oldest first, at most Length item vectors, at least one) and gives the user's vector. The
// history is not changed.
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
				from = len(x) - 1 // only the newest place is read
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

// pool is the mean of the history, weighted by a softmax of recency and content.
func (m *TwoTower) pool(history [][]float32) []float32 {
	share, normed := make([]float32, len(history)), make([]float32, m.weights.Dim)
	for k, v := range history {
		layerNorm(v, normed)
		share[k] = vek32.Dot(normed, m.weights.PoolKey) + m.weights.Recency[len(history)-1-k]
	}
	softmax(share)
	out := make([]float32, m.weights.Dim)
	for k, v := range history {
		addScaled(out, v, share[k])
	}
	return out
}

// attentionLayer is a block with its matrices laid out as they are read.
type attentionLayer struct {
	dim, heads, length             int
	query, value, out, up, down    []float32 // by output
	key                            []float32 // by input
	positionBias, upBias, downBias []float32
	scale                          float32
}

func newAttentionLayer(w *TwoTowerWeights, b *AttentionBlock) attentionLayer {
	d := w.Dim
	return attentionLayer{
		dim: d, heads: w.Heads, length: w.HistoryLength, key: b.Key, positionBias: b.PositionBias, upBias: b.UpBias, downBias: b.DownBias,
		query: transpose(b.Query, d, d), value: transpose(b.Value, d, d), out: transpose(b.Out, d, d),
		up: transpose(b.Up, d, 2*d), down: transpose(b.Down, 2*d, d), scale: float32(1 / math.Sqrt(float64(d/w.Heads))),
	}
}

// forward passes places from on through the block, in place. What comes before is read, and left as it is.
func (l *attentionLayer) forward(x [][]float32, from int) {
	d := l.dim
	normed := make([][]float32, len(x))
	space := make([]float32, len(x)*d)
	for i, v := range x {
		normed[i] = space[i*d : (i+1)*d]
		layerNorm(v, normed[i])
	}
	work := make([]float32, 4*d)
	for i := from; i < len(x); i++ {
		mixed, sum := work[:d], work[d:2*d]
		l.attend(normed[:i+1], mixed)
		multiply(l.out, mixed, sum)
		vek32.Add_Inplace(x[i], sum)
		hidden := work[2*d:]
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

// attend writes what the last place of h sees of all of them. Keys and values are never made: a query is taken back
// through the key matrix once, and the values' matrix is applied to the mean of the places, since both are linear.
func (l *attentionLayer) attend(h [][]float32, out []float32) {
	d, wide := l.dim, l.dim/l.heads
	last := len(h) - 1
	query, seen, share := make([]float32, d), make([]float32, d), make([]float32, len(h))
	multiply(l.query, h[last], query)
	for head := range l.heads {
		own := query[head*wide : (head+1)*wide]
		for i := range d {
			seen[i] = vek32.Dot(l.key[i*d+head*wide:i*d+(head+1)*wide], own)
		}
		for k, v := range h {
			share[k] = vek32.Dot(seen, v)*l.scale + l.positionBias[head*l.length+last-k]
		}
		softmax(share)
		clear(seen)
		for k, v := range h {
			addScaled(seen, v, share[k])
		}
		for i := head * wide; i < (head+1)*wide; i++ {
			out[i] = vek32.Dot(l.value[i*d:(i+1)*d], seen)
		}
	}
}

// multiply writes y = M x for a matrix laid out by output.
func multiply(m, x, y []float32) {
	for i := range y {
		y[i] = vek32.Dot(m[i*len(x):(i+1)*len(x)], x)
	}
}

// transpose lays an in x out matrix out by output.
func transpose(m []float32, in, out int) []float32 {
	t := make([]float32, len(m))
	for i := range in {
		for j := range out {
			t[j*in+i] = m[i*out+j]
		}
	}
	return t
}

// layerNorm writes x less its mean, over its standard deviation.
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

func softmax(x []float32) {
	top, sum := vek32.Max(x), float32(0)
	for i, v := range x {
		x[i] = float32(math.Exp(float64(v - top)))
		sum += x[i]
	}
	vek32.DivNumber_Inplace(x, sum)
}
