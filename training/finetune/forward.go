package finetune

import (
	"math"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
)

// input is a packed batch as nodes of a graph.
type input struct {
	tokens    *Node // slots: token numbers; or slots x dim: output of the layers below
	positions *Node // slots: position of the token in its text
	segments  *Node // rows x length: number of the text in its row, 0 if empty
	pool      *Node // texts x slots: weight of a token in the vector of a text
}

// states returns the output of the last layer: slots x dim.
func (n *network) states(in *input, averaged bool) *Node {
	g := in.segments.Graph()
	w := func(name string) *Node { return n.get(g, name, averaged) }
	x := in.tokens
	if n.firstLayer == 0 {
		rows := func(name string, ids *Node) *Node { return Gather(w(name), InsertAxes(ids, -1)) }
		typeVector := Slice(w(typeEmbeddings), AxisRange(0, 1), AxisRange())
		x = Add(rows(tokenEmbeddings, in.tokens), rows(positionEmbeddings, in.positions))
		x = n.normalise(Add(x, typeVector),
			w(embeddingNorm+weightSuffix), w(embeddingNorm+biasSuffix))
	}
	mask := n.attentionMask(in.segments)
	for layer := n.firstLayer; layer < n.layers; layer++ {
		part := func(x *Node, name string) *Node {
			return Add(Dot(x, w(layerPart(layer, name)+weightSuffix)),
				InsertAxes(w(layerPart(layer, name)+biasSuffix), 0))
		}
		norm := func(x *Node, name string) *Node {
			return n.normalise(x, w(layerPart(layer, name)+weightSuffix),
				w(layerPart(layer, name)+biasSuffix))
		}
		mixed := n.attention(part(x, queryPart), part(x, keyPart), part(x, valuePart), mask)
		x = norm(Add(x, part(mixed, attentionOut)), attentionNorm)
		x = norm(Add(x, part(gelu(part(x, feedForwardUp)), feedForwardDown)), outputNorm)
	}
	return x
}

// vectors returns the unit vectors of the texts: texts x dim. A text without tokens has the vector
// 0.
func (n *network) vectors(in *input, averaged bool) *Node {
	return unitRows(Dot(in.pool, n.states(in, averaged)))
}

// unitRows scales rows to length 1. A row of zeros stays zero.
func unitRows(x *Node) *Node {
	return Div(x, Sqrt(AddScalar(ReduceAndKeep(Square(x), ReduceSum, -1), 1e-12)))
}

// attentionMask returns what is added to the attention scores: 0 between tokens of one text, and
// -1e9 between different texts, which removes the attention. Its shape is rows x 1 x length x
// length.
func (n *network) attentionMask(text *Node) *Node {
	rows, length := text.Shape().Dimensions[0], text.Shape().Dimensions[1]
	from := BroadcastToDims(InsertAxes(text, 2), rows, length, length)
	to := BroadcastToDims(InsertAxes(text, 1), rows, length, length)
	return InsertAxes(MulScalar(ConvertDType(NotEqual(from, to), dtypes.Float32), -1e9), 1)
}

// attention is multi-head attention within rows. It returns slots x dim.
func (n *network) attention(query, key, value, mask *Node) *Node {
	rows, length := mask.Shape().Dimensions[0], mask.Shape().Dimensions[2]
	split := func(x *Node) *Node { return Reshape(x, rows, length, n.heads, n.dim/n.heads) }
	score := MulScalar(Einsum("rqhd,rkhd->rhqk", split(query), split(key)),
		1/math.Sqrt(float64(n.dim/n.heads)))
	weights := Softmax(Add(score, mask), -1)
	return Reshape(Einsum("rhqk,rkhd->rqhd", weights, split(value)), -1, n.dim)
}

// normalise is layer normalization (Ba et al. 2016) with BERT's epsilon.
func (n *network) normalise(x, gain, bias *Node) *Node {
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	scaled := Div(centred, Sqrt(AddScalar(ReduceAndKeep(Square(centred), ReduceMean, -1), 1e-12)))
	return Add(Mul(scaled, InsertAxes(gain, 0)), InsertAxes(bias, 0))
}

// gelu is x times the cumulative distribution function of the normal distribution (Hendrycks and
// Gimpel 2016).
func gelu(x *Node) *Node {
	return MulScalar(Mul(x, AddScalar(Erf(MulScalar(x, 1/math.Sqrt2)), 1)), 0.5)
}
