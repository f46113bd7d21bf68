package onnxfile_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"relish/embeddings/onnx"
	"relish/embeddings/onnxfile"
	"relish/internal/onnxtest"
)

// The weights of productModel, 4 rows of 3.
var productWeights = []float32{1, -2, .5, .25, 3, -1, 0, .75, 2, -1.5, 1, 1}

// productModel returns a model of the given opset that multiplies x, of any number of batches and
// tokens with 4 columns, by productWeights.
func productModel(opset uint64) []byte {
	field := func(n protowire.Number, parts ...[]byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType),
			bytes.Join(parts, nil))
	}
	text := func(n protowire.Number, s string) []byte { return field(n, []byte(s)) }
	integer := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	value := func(n protowire.Number, name string, columns uint64) []byte {
		shape := field(2, field(1, text(2, "b")), field(1, text(2, "t")),
			field(1, integer(1, columns)))
		return field(n, text(1, name), field(2, field(1, integer(1, 1), shape)))
	}
	var raw []byte
	for _, w := range productWeights {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(w))
	}
	return slices.Concat(integer(1, 8), field(8, text(1, ""), integer(2, opset)), field(7,
		field(1, text(1, "x"), text(1, "w"), text(2, "y"), text(4, "MatMul")), text(2, "g"),
		field(5, integer(1, 4), integer(1, 3), integer(2, 1), text(8, "w"), field(9, raw)),
		value(11, "x", 4), value(12, "y", 3)))
}

// A quantized product takes each row of its input by itself, also a row of zeros. The result is
// close to that of the floats, under opsets with either form of ReduceMax.
func TestRowsAreIndependent(t *testing.T) {
	rows := []float32{1, -2, 3, 4, 0, 0, 0, 0, 100, 20, -30, 5, .001, .002, 0, -.001}
	for _, opset := range []uint64{13, 18} {
		small, err := parse(t, productModel(opset)).Quantize()
		if err != nil {
			t.Fatal(err)
		}
		g, err := onnxtest.Start(t).LoadGraph(small, onnx.GraphOptions{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		product := func(batches, tokens int64, x []float32) []float32 {
			y := make([]float32, len(x)/4*3)
			err := g.Run(t.Context(), []onnx.Tensor{{Shape: []int64{batches, tokens, 4}, Data: x}},
				[]onnx.Tensor{{Shape: []int64{batches, tokens, 3}, Data: y}})
			if err != nil {
				t.Fatal(err)
			}
			return y
		}
		got := product(2, 2, rows)
		if !slices.Equal(got, product(1, 4, rows)) {
			t.Errorf("opset %d: other batches give other rows", opset)
		}
		for i := range 4 {
			x, y := rows[i*4:i*4+4], got[i*3:i*3+3]
			if !slices.Equal(y, product(1, 1, slices.Clone(x))) {
				t.Errorf("opset %d: row %d alone is not %v", opset, i, y)
			}
			largest := slices.Max([]float32{x[0], -x[0], x[1], -x[1], x[2], -x[2], x[3], -x[3]})
			for k := range y {
				var want float32
				for j := range x {
					want += x[j] * productWeights[j*3+k]
				}
				if d := math.Abs(float64(y[k] - want)); d > 0.05*float64(largest) {
					t.Errorf("opset %d: row %d column %d is %v, want %v", opset, i, k, y[k], want)
				}
			}
		}
	}
}

// QuantizeRows leaves an activation alone whose quantized form is read by something that it does
// not know, and changes nothing a second time.
func TestQuantizeRowsLeavesTheRest(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(onnxtest.CacheDir(), "encoder", "int8", "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	count := func(m *onnxfile.Model) (n int) {
		for _, node := range m.Nodes {
			if node.Op == "DynamicQuantizeLinear" {
				n++
			}
		}
		return n
	}
	m := parse(t, data)
	for _, node := range m.Nodes {
		if node.Op == "DynamicQuantizeLinear" {
			m.Nodes = append(m.Nodes, &onnxfile.Node{
				Op: "Identity", Inputs: node.Outputs[:1], Outputs: []string{"more"},
			})
			break
		}
	}
	if before := count(m); !m.QuantizeRows() || before < 2 || count(m) != 1 {
		t.Errorf("%d of %d nodes are left, want 1", count(m), before)
	}
	if m := parse(t, data); !m.QuantizeRows() || count(m) != 0 || m.QuantizeRows() {
		t.Error("the shipped encoder is not changed once")
	}
}
