package finetune

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"

	"relish/embeddings/onnxfile"
)

// network is BERT (Devlin et al. 2019) with the weights of an ONNX file. It has embeddings of
// tokens, positions and the token type, and layers of attention and feed-forward with layer
// normalization after each sum.
//
// The trained weights are variables of ctx. They exist between createVariables and finalize.
type network struct {
	ctx        *context.Context
	file       *onnxfile.Model
	source     map[string]string // variable -> name of the weight in the file
	prefix     string            // prefix of the names in the file
	dim        int
	heads      int
	layers     int
	firstLayer int     // the graph starts from the output of the layers below this one
	vocab      []int32 // rows of the file's token embeddings that the variable holds
	rank       int
}

// Names of weights in the file, after its prefix. Names of a layer's weights follow the number of
// the layer.
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

// openNetwork reads the network of an ONNX file. Its matrices have no descriptive names there, so
// they are found by the bias that is added to their product. Encoders that are not of the BERT
// family are an error.
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
		return nil, fmt.Errorf("finetune: the encoder has no 32-bit weight %s; only encoders of "+
			"the BERT family, exported by PyTorch with 32-bit weights, can be fine-tuned",
			tokenEmbeddings)
	}
	embeddings := []string{tokenEmbeddings, positionEmbeddings, typeEmbeddings,
		embeddingNorm + weightSuffix, embeddingNorm + biasSuffix}
	for _, name := range embeddings {
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
			"finetune: the encoder has no layers with the names of a BERT encoder, so that it " +
				"cannot be fine-tuned")
	}
	return n, nil
}

// productWeights maps the name of a bias to the matrix of the product that it is added to.
func (n *network) productWeights() map[string]string {
	matrixOf, out := map[string]string{}, map[string]string{}
	for _, node := range n.file.Nodes {
		switch {
		case node.Op == "MatMul":
			matrixOf[node.Outputs[0]] = node.Inputs[1]
		case node.Op == "Add" && matrixOf[node.Inputs[1]] != "":
			out[node.Inputs[0]] = matrixOf[node.Inputs[1]]
		case node.Op == "Add" && matrixOf[node.Inputs[0]] != "":
			out[node.Inputs[1]] = matrixOf[node.Inputs[0]]
		}
	}
	return out
}

func (n *network) mapLayer(layer int, products map[string]string) error {
	linear := []string{queryPart, keyPart, valuePart, attentionOut, feedForwardUp, feedForwardDown}
	for _, part := range linear {
		name := layerPart(layer, part)
		if err := n.mapWeight(name+biasSuffix, n.prefix+name+biasSuffix); err != nil {
			return err
		}
		if err := n.mapWeight(name+weightSuffix, products[n.prefix+name+biasSuffix]); err != nil {
			return err
		}
	}
	for _, part := range []string{attentionNorm, outputNorm} {
		for _, suffix := range []string{weightSuffix, biasSuffix} {
			name := layerPart(layer, part) + suffix
			if err := n.mapWeight(name, n.prefix+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// mapWeight records which weight of the file initializes a variable.
func (n *network) mapWeight(variable, weight string) error {
	if _, dims := n.file.Floats(weight); dims == nil {
		return fmt.Errorf(
			"finetune: the encoder has no weight %s as BERT encoders have, so that it cannot be "+
				"fine-tuned",
			variable)
	}
	n.source[variable] = weight
	return nil
}

// headWidths lists the widths of an attention head that detectHeads tries, the most common one of
// small encoders first. A file does not contain this width.
var headWidths = []int{32, 64, 16, 128}

// createVariables creates the variables from the file. The token embeddings get the rows of vocab
// only. Layers below first get no variables. A rank above 0 freezes the matrices and adds two
// factors to each.
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

// variableNames returns the names of the graph's weights in a fixed order.
func (n *network) variableNames() (names []string) {
	if n.firstLayer == 0 {
		names = append(names, tokenEmbeddings, positionEmbeddings, typeEmbeddings,
			embeddingNorm+weightSuffix, embeddingNorm+biasSuffix)
	}
	for layer := n.firstLayer; layer < n.layers; layer++ {
		for _, part := range []string{queryPart, keyPart, valuePart, attentionOut, attentionNorm,
			feedForwardUp, feedForwardDown, outputNorm} {
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

func rowsOf(matrix []float32, width int, rows []int32) []float32 {
	out := make([]float32, 0, len(rows)*width)
	for _, r := range rows {
		out = append(out, matrix[int(r)*width:(int(r)+1)*width]...)
	}
	return out
}

func (n *network) setVariable(name string, flat []float32, dims ...int) *context.Variable {
	return n.ctx.VariableWithValue(name, tensors.FromFlatDataAndDimensions(flat, dims...))
}

func (n *network) variable(name string) *context.Variable {
	return n.ctx.GetVariableByScopeAndName(n.ctx.Scope(), name)
}

// get returns a weight as a node: its current value, or its moving average.
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
