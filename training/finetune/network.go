package finetune

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"

	"relish/training/onnxfile"
)

// network is BERT (Devlin et al. 2019) over the variables of a context, with the weights of a file: embeddings of
// tokens, places and a type, and layers of attention and feed-forward, each with its sum normalised after it.
type network struct {
	ctx        *context.Context
	file       *onnxfile.Model
	source     map[string]string // variable -> the file's weight
	prefix     string            // of the file's names
	dim        int
	heads      int
	layers     int
	firstLayer int     // layers below are not part of the graph: it starts from their output
	vocab      []int32 // the rows of the file's token table that the variable has
	rank       int
}

// Names of a file's weights, behind its prefix. A layer's stand behind its number.
const (
	tokenEmbeddings    = "embeddings.word_embeddings.weight"
	positionEmbeddings = "embeddings.position_embeddings.weight"
	typeEmbeddings     = "embeddings.token_type_embeddings.weight"
	embeddingNorm      = "embeddings.LayerNorm"
	queryPart          = "attention.self.query"
	keyPart            = "attention.self.key"
	valuePart          = "attention.self.value"
	attentionOut       = "attention.output.dense"
	attentionNorm      = "attention.output.LayerNorm"
	feedForwardUp      = "intermediate.dense"
	feedForwardDown    = "output.dense"
	outputNorm         = "output.LayerNorm"
	weightSuffix       = ".weight"
	biasSuffix         = ".bias"
	averagePrefix      = "average of "
	leftFactor         = " left factor"
	rightFactor        = " right factor"
)

func layerPart(layer int, part string) string {
	return fmt.Sprintf("encoder.layer.%d.%s", layer, part)
}

// openNetwork reads the network of a file. The products' weights have no names of their own there: they are found by the bias
// that is added to the product.
func openNetwork(model []byte) (*network, error) {
	file, err := onnxfile.Parse(model)
	if err != nil {
		return nil, err
	}
	n := &network{file: file, source: map[string]string{}}
	found := false
	for _, name := range file.WeightNames() {
		if prefix, ok := strings.CutSuffix(name, tokenEmbeddings); ok {
			n.prefix, found = prefix, true
		}
	}
	if !found {
		return nil, errors.New(
			"encoder: its token table has an unknown name, so that it cannot be tuned: only BERT-family encoders as PyTorch exports them, with 32-bit weights, can")
	}
	for _, name := range []string{tokenEmbeddings, positionEmbeddings, typeEmbeddings, embeddingNorm + weightSuffix, embeddingNorm + biasSuffix} {
		if err := n.mapWeight(name, n.prefix+name); err != nil {
			return nil, err
		}
	}
	_, dims := file.Floats(n.prefix + tokenEmbeddings)
	n.dim = dims[1]
	products := n.productWeights()
	for ; ; n.layers++ {
		if v, _ := file.Floats(n.prefix + layerPart(n.layers, queryPart+biasSuffix)); v == nil {
			break
		}
		if err := n.mapLayer(n.layers, products); err != nil {
			return nil, err
		}
	}
	if n.layers == 0 {
		return nil, errors.New(
			"encoder: it has no layers with the usual names, so that it cannot be tuned")
	}
	return n, nil
}

// productWeights maps a bias to the matrix whose product it is added to.
func (n *network) productWeights() map[string]string {
	matrix, out := map[string]string{}, map[string]string{}
	for _, node := range n.file.Nodes {
		switch {
		case node.Op == "MatMul":
			matrix[node.Outputs[0]] = node.Inputs[1]
		case node.Op == "Add" && matrix[node.Inputs[1]] != "":
			out[node.Inputs[0]] = matrix[node.Inputs[1]]
		case node.Op == "Add" && matrix[node.Inputs[0]] != "":
			out[node.Inputs[1]] = matrix[node.Inputs[0]]
		}
	}
	return out
}

func (n *network) mapLayer(layer int, products map[string]string) error {
	for _, part := range []string{queryPart, keyPart, valuePart, attentionOut, feedForwardUp, feedForwardDown} {
		name := layerPart(layer, part)
		if err := n.mapWeight(name+biasSuffix, n.prefix+name+biasSuffix); err != nil {
			return err
		}
		if err := n.mapWeight(name+weightSuffix, products[n.prefix+name+biasSuffix]); err != nil {
			return err
		}
	}
	for _, part := range []string{attentionNorm, outputNorm} {
		for _, of := range []string{weightSuffix, biasSuffix} {
			name := layerPart(layer, part) + of
			if err := n.mapWeight(name, n.prefix+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// mapWeight notes that a variable has its values from a weight.
func (n *network) mapWeight(variable, weight string) error {
	if _, dims := n.file.Floats(weight); dims == nil {
		return fmt.Errorf(
			"encoder: its %s is not where BERT-family encoders have it, so that it cannot be tuned",
			variable)
	}
	n.source[variable] = weight
	return nil
}

// headWidths are the widths of an attention head that are tried, the commonest of small encoders first: a file does not
// say which it has.
var headWidths = []int{32, 64, 16, 128}

// createVariables makes the variables: of the token table the rows of vocab, of the rest all. Layers below first get none.
func (n *network) createVariables(vocab []int32, first, rank int, seed uint64) {
	n.vocab, n.firstLayer, n.rank = vocab, first, rank
	n.ctx = context.New().Checked(false)
	r := rand.New(rand.NewPCG(seed, 0xe2c))
	for _, name := range n.variableNames() {
		values, dims := n.file.Floats(n.source[name])
		if name == tokenEmbeddings {
			values, dims = rowsOf(values, dims[1], vocab), []int{len(vocab), dims[1]}
		}
		n.setVariable(name, values, dims...).SetTrainable(rank == 0)
		if rank > 0 && n.isProduct(name) {
			left := make([]float32, dims[0]*rank)
			for i := range left {
				left[i] = float32(r.NormFloat64() / math.Sqrt(float64(dims[0])))
			}
			n.setVariable(name+leftFactor, left, dims[0], rank)
			n.setVariable(name+rightFactor, make([]float32, rank*dims[1]), rank, dims[1])
		}
	}
}

// finalize frees the variables, if there are any.
func (n *network) finalize() {
	if n.ctx != nil {
		n.ctx.Finalize()
		n.ctx = nil
	}
}

// variableNames are the names of those that the graph has, in a fixed order.
func (n *network) variableNames() (names []string) {
	if n.firstLayer == 0 {
		names = append(names, tokenEmbeddings, positionEmbeddings, typeEmbeddings,
			embeddingNorm+weightSuffix, embeddingNorm+biasSuffix)
	}
	for layer := n.firstLayer; layer < n.layers; layer++ {
		for _, part := range []string{queryPart, keyPart, valuePart, attentionOut, attentionNorm, feedForwardUp, feedForwardDown, outputNorm} {
			names = append(names, layerPart(layer, part)+weightSuffix,
				layerPart(layer, part)+biasSuffix)
		}
	}
	return names
}

func (n *network) isProduct(name string) bool {
	return strings.HasPrefix(name, "encoder.layer.") && strings.HasSuffix(name, weightSuffix) &&
		!strings.Contains(name, "LayerNorm")
}

func rowsOf(table []float32, width int, rows []int32) []float32 {
	out := make([]float32, 0, len(rows)*width)
	for _, r := range rows {
		out = append(out, table[int(r)*width:(int(r)+1)*width]...)
	}
	return out
}

func (n *network) setVariable(name string, flat []float32, dims ...int) *context.Variable {
	return n.ctx.VariableWithValue(name, tensors.FromFlatDataAndDimensions(flat, dims...))
}

func (n *network) variable(name string) *context.Variable {
	return n.ctx.GetVariableByScopeAndName(n.ctx.Scope(), name)
}

// get is a weight in a graph: as it moves, or its average.
func (n *network) get(g *Graph, name string, averaged bool) *Node {
	value := func(name string) *Node {
		if v := n.variable(averagePrefix + name); averaged && v != nil {
			return v.ValueGraph(g)
		}
		return n.variable(name).ValueGraph(g)
	}
	if n.rank == 0 || !n.isProduct(name) {
		return value(name)
	}
	return Add(value(name), Dot(value(name+leftFactor), value(name+rightFactor)))
}

// input is a packed batch in a graph: rows of tokens, several texts to each.
type input struct {
	tokens    *Node // slots: into the vocabulary; or slots x dim, the output of the layers below the first
	positions *Node // slots: of the token in its text
	segments  *Node // rows x length: which text of the row a token belongs to, 0 for none
	pool      *Node // texts x slots: what a token counts in its text's vector
}

// states gives the last layer's output: slots x dim.
func (n *network) states(in *input, averaged bool) *Node {
	g := in.segments.Graph()
	w := func(name string) *Node { return n.get(g, name, averaged) }
	x := in.tokens
	if n.firstLayer == 0 {
		rows := func(table string, at *Node) *Node { return Gather(w(table), InsertAxes(at, -1)) }
		kind := Slice(w(typeEmbeddings), AxisRange(0, 1), AxisRange())
		x = n.normalise(
			Add(Add(rows(tokenEmbeddings, in.tokens), rows(positionEmbeddings, in.positions)),
				kind),
			w(embeddingNorm+weightSuffix),
			w(embeddingNorm+biasSuffix),
		)
	}
	apart := n.attentionMask(in.segments)
	for layer := n.firstLayer; layer < n.layers; layer++ {
		part := func(x *Node, name string) *Node {
			return Add(Dot(x, w(layerPart(layer, name)+weightSuffix)),
				InsertAxes(w(layerPart(layer, name)+biasSuffix), 0))
		}
		norm := func(x *Node, name string) *Node {
			return n.normalise(x, w(layerPart(layer, name)+weightSuffix),
				w(layerPart(layer, name)+biasSuffix))
		}
		mixed := n.attention(part(x, queryPart), part(x, keyPart), part(x, valuePart), apart)
		x = norm(Add(x, part(mixed, attentionOut)), attentionNorm)
		x = norm(Add(x, part(gelu(part(x, feedForwardUp)), feedForwardDown)), outputNorm)
	}
	return x
}

// vectors gives the texts' unit vectors: texts x dim. A text without tokens has the vector 0.
func (n *network) vectors(in *input, averaged bool) *Node {
	return unitRows(Dot(in.pool, n.states(in, averaged)))
}

// unitRows scales rows to length 1, and leaves a row of zeros as it is.
func unitRows(x *Node) *Node {
	return Div(x, Sqrt(AddScalar(ReduceAndKeep(Square(x), ReduceSum, -1), 1e-12)))
}

// attentionMask is what is added to the attention of one token to another: nothing within a text, and what puts it out of reach
// elsewhere. rows x 1 x length x length.
func (n *network) attentionMask(text *Node) *Node {
	rows, length := text.Shape().Dimensions[0], text.Shape().Dimensions[1]
	from := BroadcastToDims(InsertAxes(text, 2), rows, length, length)
	to := BroadcastToDims(InsertAxes(text, 1), rows, length, length)
	return InsertAxes(MulScalar(ConvertDType(NotEqual(from, to), dtypes.Float32), -1e9), 1)
}

// attention is multi-head attention over rows: slots x dim.
func (n *network) attention(query, key, value, apart *Node) *Node {
	rows, length := apart.Shape().Dimensions[0], apart.Shape().Dimensions[2]
	split := func(x *Node) *Node { return Reshape(x, rows, length, n.heads, n.dim/n.heads) }
	score := MulScalar(Einsum("rqhd,rkhd->rhqk", split(query), split(key)),
		1/math.Sqrt(float64(n.dim/n.heads)))
	share := Softmax(Add(score, apart), -1)
	return Reshape(Einsum("rhqk,rkhd->rqhd", share, split(value)), -1, n.dim)
}

// normalise is layer normalisation (Ba et al. 2016) with BERT's epsilon.
func (n *network) normalise(x, gain, bias *Node) *Node {
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	scaled := Div(centred, Sqrt(AddScalar(ReduceAndKeep(Square(centred), ReduceMean, -1), 1e-12)))
	return Add(Mul(scaled, InsertAxes(gain, 0)), InsertAxes(bias, 0))
}

// gelu is x times the normal distribution's cumulative function (Hendrycks and Gimpel 2016).
func gelu(x *Node) *Node {
	return MulScalar(Mul(x, AddScalar(Erf(MulScalar(x, 1/math.Sqrt2)), 1)), 0.5)
}
