package onnx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	ort "github.com/yalue/onnxruntime_go"
)

// GraphOptions say how a graph runs. The zero value runs it on the CPU with a thread per core.
type GraphOptions struct {
	// Inputs and Outputs name what Run takes and fills, in its order. nil: all that the graph has, in the
	// graph's order, which costs loading it twice.
	Inputs, Outputs []string
	Threads         int    // of one Run on the CPU; 0 = GOMAXPROCS
	Device          string // cpu (also ""), cuda, cuda:N; there is no fallback
	GPUMemLimit     int64  // bytes, 0 = no limit
}

// Graph is any ONNX graph, loaded. It is safe for concurrent use.
type Graph struct {
	inputs, outputs []string
	ort             *ort.DynamicAdvancedSession
}

// Tensor is one value of a Program: its shape and its elements in row-major order. Data is a slice of
// float32, float64, bool or a sized integer type, with as many elements as Shape says. A tensor has at
// least one axis and one element: what the graph holds as a scalar must pass its border as [1].
type Tensor struct {
	Shape []int64
	Data  any
}

// LoadGraph loads an ONNX model from its bytes, which are not kept.
func (rt *Runtime) LoadGraph(model []byte, opt GraphOptions) (*Graph, error) {
	d, err := graphDevice(rt, opt.Device)
	if err != nil {
		return nil, err
	}
	p := &Graph{inputs: opt.Inputs, outputs: opt.Outputs}
	if p.inputs == nil || p.outputs == nil {
		if err := p.inspect(model); err != nil {
			return nil, fmt.Errorf("onnx: reading the graph: %w", err)
		}
	}
	if len(p.inputs) == 0 || len(p.outputs) == 0 {
		return nil, errors.New("onnx: a graph needs at least one input and one output; give a constant graph an unused input")
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
	if p.ort, err = ort.NewDynamicAdvancedSessionWithONNXData(model, p.inputs, p.outputs, so); err != nil {
		return nil, fmt.Errorf("onnx: loading the graph: %w", err)
	}
	return p, nil
}

// graphDevice reads a device that must be there if it is named.
func graphDevice(rt *Runtime, name string) (device, error) {
	if name == "" || name == "auto" {
		return device{}, nil
	}
	d, err := parseDevice(name)
	if err == nil && d.cuda {
		if err = rt.hasCUDA(); err != nil {
			err = fmt.Errorf("onnx: no GPU: %w", err)
		}
	}
	return d, err
}

func (p *Graph) inspect(model []byte) error {
	ins, outs, err := ort.GetInputOutputInfoWithONNXData(model)
	if err != nil {
		return err
	}
	p.inputs, p.outputs = nil, nil
	for _, in := range ins {
		p.inputs = append(p.inputs, in.Name)
	}
	for _, out := range outs {
		p.outputs = append(p.outputs, out.Name)
	}
	return nil
}

// Inputs names what Run takes, in its order. The slice is the program's own.
func (p *Graph) Inputs() []string { return p.inputs }

// Outputs names what Run fills, in its order. The slice is the program's own.
func (p *Graph) Outputs() []string { return p.outputs }

// Run runs the graph over in and writes its results into out, both aligned with Inputs and Outputs. The
// slices are used in place, without a copy, and must not be touched until Run returns; no input may
// share memory with an output. An output whose shape is not what the graph gives is an error. When ctx
// ends, Run stops at the next operator with its error.
func (p *Graph) Run(ctx context.Context, in, out []Tensor) error {
	if len(in) != len(p.inputs) || len(out) != len(p.outputs) {
		return fmt.Errorf("onnx: %d inputs and %d outputs given; the graph has %d and %d", len(in), len(out), len(p.inputs), len(p.outputs))
	}
	var pins runtime.Pinner
	defer pins.Unpin()
	var values []ort.Value
	defer func() {
		for _, v := range values {
			_ = v.Destroy()
		}
	}()
	wrap := func(kind string, names []string, ts []Tensor) ([]ort.Value, error) {
		for i := range ts {
			v, err := ts[i].wrap(&pins)
			if err != nil {
				return nil, fmt.Errorf("onnx: %s %s: %w", kind, names[i], err)
			}
			values = append(values, v)
		}
		return values[len(values)-len(ts):], nil
	}
	inputs, err := wrap("input", p.inputs, in)
	if err != nil {
		return err
	}
	outputs, err := wrap("output", p.outputs, out)
	if err != nil {
		return err
	}
	return runUntil(ctx, p.ort, inputs, outputs)
}

// Close frees the graph. No Run may be under way.
func (p *Graph) Close() {
	if p.ort != nil {
		_ = p.ort.Destroy()
		p.ort = nil
	}
}

// wrap makes a runtime value over the tensor's own memory, which pins holds in place.
func (t *Tensor) wrap(pins *runtime.Pinner) (ort.Value, error) {
	size := int64(1)
	for _, d := range t.Shape {
		if d < 1 {
			return nil, fmt.Errorf("shape %v holds no element", t.Shape)
		}
		size *= d
	}
	if len(t.Shape) == 0 {
		return nil, errors.New("a scalar cannot pass the graph's border; make it a [1]")
	}
	elem, width, start, n := elementsOf(t.Data)
	if width == 0 {
		return nil, fmt.Errorf("elements of %T cannot be passed", t.Data)
	}
	if int64(n) != size {
		return nil, fmt.Errorf("%d elements for shape %v", n, t.Shape)
	}
	pins.Pin(start)
	return ort.NewCustomDataTensor(ort.Shape(t.Shape), unsafe.Slice((*byte)(start), n*width), elem)
}

// elementsOf gives a slice's element type and width in bytes, 0 for a type that the runtime does not know, and
// where its elements are.
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
