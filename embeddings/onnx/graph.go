package onnx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	ort "github.com/yalue/onnxruntime_go"

	"relish/embeddings/onnxfile"
)

// GraphOptions say how a graph runs. The zero value runs it on the CPU with one thread per core.
type GraphOptions struct {
	// Inputs and Outputs name the graph's inputs and outputs in the order of Run's tensors. nil:
	// all of them, in the graph's order; the model is then parsed twice.
	Inputs, Outputs []string
	Threads         int    // of one Run on the CPU; 0 = GOMAXPROCS
	Device          string // cpu (also "" and auto), cuda or cuda:N; there is no fallback
	GPUMemLimit     int64  // bytes, 0 = no limit
}

// Graph is a loaded ONNX graph of any kind. It is safe for concurrent use. The owner closes it.
type Graph struct {
	inputs, outputs []string

	running sync.RWMutex // held for reading by each Run, for writing by Close
	ort     *ort.DynamicAdvancedSession
}

// Tensor is one input or output of a Graph: its shape and its elements in row-major order.
//
// Data is a slice of float32, float64, bool or a sized integer type, with as many elements as Shape
// says. A tensor has at least one axis and one element; a scalar of the graph is passed as [1].
type Tensor struct {
	Shape []int64
	Data  any
}

// LoadGraph loads an ONNX model from its bytes, which are not kept. The caller closes the graph.
func (rt *Runtime) LoadGraph(model []byte, opt GraphOptions) (*Graph, error) {
	d, err := graphDevice(rt, opt.Device)
	if err != nil {
		return nil, err
	}
	if err := onnxfile.Check(model); err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	g := &Graph{inputs: opt.Inputs, outputs: opt.Outputs}
	if g.inputs == nil || g.outputs == nil {
		if err := g.inspect(model); err != nil {
			return nil, fmt.Errorf("onnx: reading the graph: %w", err)
		}
	}
	if len(g.inputs) == 0 || len(g.outputs) == 0 {
		return nil, errors.New("onnx: a graph needs at least one input and one output; give a " +
			"constant graph an unused input")
	}
	threads := opt.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	so, err := newSessionOptions(d, threads, &EncoderOptions{GPUMemLimit: opt.GPUMemLimit})
	if err != nil {
		return nil, err
	}
	defer so.Destroy()
	if g.ort, err = openNative(model, g.inputs, g.outputs, so); err != nil {
		return nil, fmt.Errorf("onnx: loading the graph: %w", err)
	}
	return g, nil
}

// graphDevice parses a device name. A GPU that is named must exist.
func graphDevice(rt *Runtime, name string) (device, error) {
	if name == "" || name == "auto" {
		return device{}, nil
	}
	d, err := parseDevice(name)
	if err == nil && d.cuda {
		if err = rt.checkCUDA(); err != nil {
			err = fmt.Errorf("onnx: no GPU: %w", err)
		}
	}
	return d, err
}

func (g *Graph) inspect(model []byte) error {
	ins, outs, err := ort.GetInputOutputInfoWithONNXData(model)
	if err != nil {
		return err
	}
	g.inputs, g.outputs = nil, nil
	for _, in := range ins {
		g.inputs = append(g.inputs, in.Name)
	}
	for _, out := range outs {
		g.outputs = append(g.outputs, out.Name)
	}
	return nil
}

// Inputs returns the names of what Run takes, in its order. The caller must not change the slice.
func (g *Graph) Inputs() []string { return g.inputs }

// Outputs returns the names of what Run fills, in its order. The caller must not change the slice.
func (g *Graph) Outputs() []string { return g.outputs }

// Run runs the graph on in and writes its results into out. Both are aligned with Inputs and
// Outputs.
//
// The slices are used in place, without a copy, and must not be touched until Run returns. No input
// may share memory with an output. An output whose shape differs from the graph's is an error. When
// ctx ends, Run stops at the next operator with its error. After Close it returns ErrClosed.
func (g *Graph) Run(ctx context.Context, in, out []Tensor) error {
	if len(in) != len(g.inputs) || len(out) != len(g.outputs) {
		return fmt.Errorf("onnx: %d inputs and %d outputs given; the graph has %d and %d",
			len(in), len(out), len(g.inputs), len(g.outputs))
	}
	g.running.RLock()
	defer g.running.RUnlock()
	if g.ort == nil {
		return ErrClosed
	}
	var pins runtime.Pinner
	defer pins.Unpin()
	var values []ort.Value
	defer func() {
		for _, v := range values {
			_ = v.Destroy()
		}
	}()
	wrap := func(kind string, names []string, tensors []Tensor) ([]ort.Value, error) {
		for i := range tensors {
			v, err := tensors[i].wrap(&pins)
			if err != nil {
				return nil, fmt.Errorf("onnx: %s %s: %w", kind, names[i], err)
			}
			values = append(values, v)
		}
		return values[len(values)-len(tensors):], nil
	}
	inputs, err := wrap("input", g.inputs, in)
	if err != nil {
		return err
	}
	outputs, err := wrap("output", g.outputs, out)
	if err != nil {
		return err
	}
	return runUntil(ctx, g.ort, inputs, outputs)
}

// Close waits for the runs in progress and frees the graph. Calls after the first have no effect.
func (g *Graph) Close() {
	g.running.Lock()
	defer g.running.Unlock()
	if g.ort != nil {
		closeNative(g.ort)
		g.ort = nil
	}
}

// wrap returns a native value on the tensor's own memory. pins keeps that memory in place.
func (t *Tensor) wrap(pins *runtime.Pinner) (ort.Value, error) {
	size := int64(1)
	for i, d := range t.Shape {
		if d < 1 {
			return nil, fmt.Errorf("tensor shape %v: dimension %d is %d; each must be 1 or more",
				t.Shape, i, d)
		}
		size *= d
	}
	if len(t.Shape) == 0 {
		return nil, errors.New("a scalar cannot be passed; make its shape [1]")
	}
	elem, width, start, n := elementsOf(t.Data)
	if width == 0 {
		return nil, fmt.Errorf("a tensor of %T is not supported", t.Data)
	}
	if int64(n) != size {
		return nil, fmt.Errorf("the tensor has %d elements, but its shape %v needs %d", n, t.Shape,
			size)
	}
	pins.Pin(start)
	return ort.NewCustomDataTensor(ort.Shape(t.Shape), unsafe.Slice((*byte)(start), n*width), elem)
}

// elementsOf returns a slice's element type, element width in bytes, first element and length. The
// width is 0 for a type that the runtime does not know.
func elementsOf(data any) (elem ort.TensorElementDataType, width int, start unsafe.Pointer, n int) {
	switch s := data.(type) {
	case []float32:
		return ort.TensorElementDataTypeFloat, 4, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []float64:
		return ort.TensorElementDataTypeDouble, 8, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []int64:
		return ort.TensorElementDataTypeInt64, 8, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []int32:
		return ort.TensorElementDataTypeInt32, 4, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []int16:
		return ort.TensorElementDataTypeInt16, 2, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []int8:
		return ort.TensorElementDataTypeInt8, 1, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []uint64:
		return ort.TensorElementDataTypeUint64, 8, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []uint32:
		return ort.TensorElementDataTypeUint32, 4, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []uint16:
		return ort.TensorElementDataTypeUint16, 2, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []uint8:
		return ort.TensorElementDataTypeUint8, 1, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	case []bool:
		return ort.TensorElementDataTypeBool, 1, unsafe.Pointer(unsafe.SliceData(s)), len(s)
	}
	return 0, 0, nil, 0
}
