package engine

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"

	"relish/embeddings/onnx"
)

// Backend is a GoMLX backend that runs graphs on ONNX Runtime, on the CPU. It is safe for
// concurrent use.
type Backend struct {
	sessions sessions
	pool     bufferPool
	done     sync.Once
	closed   chan struct{}
}

var _ backends.Backend = (*Backend)(nil)

// Options limits what the backend uses. The zero value is valid.
type Options struct {
	// Threads is the number of threads of one run; 0 means GOMAXPROCS. With 1 thread, the same
	// inputs give the same bits on the same machine.
	Threads int
	// MaxSessions is the number of compiled graphs that stay loaded; 0 means 16. A new graph
	// replaces the least recently used one, which is loaded again when it is needed. Loading takes
	// 0.05 to 1 s.
	MaxSessions int
}

// New returns a backend. The caller must call Finalize. It returns an error if rt is nil or an
// option is negative.
func New(rt *onnx.Runtime, opt Options) (*Backend, error) {
	if rt == nil {
		return nil, errors.New("engine: no ONNX Runtime; start it first")
	}
	if opt.Threads < 0 || opt.MaxSessions < 0 {
		return nil, fmt.Errorf(
			"engine: Threads is %d and MaxSessions is %d; neither can be negative",
			opt.Threads, opt.MaxSessions)
	}
	if opt.Threads == 0 {
		opt.Threads = runtime.GOMAXPROCS(0)
	}
	if opt.MaxSessions == 0 {
		opt.MaxSessions = 16
	}
	return &Backend{
		sessions: sessions{rt: rt, threads: opt.Threads, limit: opt.MaxSessions},
		closed:   make(chan struct{}),
	}, nil
}

// Name implements backends.Backend.
func (b *Backend) Name() string { return "onnx" }

// String implements backends.Backend.
func (b *Backend) String() string { return b.Name() }

// Description implements backends.Backend.
func (b *Backend) Description() string {
	return fmt.Sprintf("ONNX Runtime, CPU, %d threads", b.sessions.threads)
}

// NumDevices implements backends.Backend.
func (b *Backend) NumDevices() int { return 1 }

// DeviceDescription implements backends.Backend.
func (b *Backend) DeviceDescription(backends.DeviceNum) string { return "cpu" }

// Capabilities implements backends.Backend.
func (b *Backend) Capabilities() backends.Capabilities {
	c := backends.Capabilities{
		Operations: map[backends.OpType]bool{},
		DTypes:     map[dtypes.DType]bool{},
	}
	for dtype := range elementType {
		c.DTypes[dtype] = true
	}
	for _, op := range operations {
		c.Operations[op] = true
	}
	return c
}

// Finalize implements backends.Backend: it frees all sessions. No graph may be running.
func (b *Backend) Finalize() {
	b.done.Do(func() {
		close(b.closed)
		b.sessions.closeAll()
	})
}

// IsFinalized implements backends.Backend.
func (b *Backend) IsFinalized() bool {
	select {
	case <-b.closed:
		return true
	default:
		return false
	}
}

// buffer is a tensor in Go memory. ONNX Runtime reads and writes this memory in place.
type buffer struct {
	shape shapes.Shape
	flat  any
}

// allocate returns a buffer with undefined contents. It reuses pooled memory if the pool has some
// of this type and length.
func (b *Backend) allocate(shape shapes.Shape) *buffer {
	flat := b.pool.take(shape.DType, shape.Size())
	if flat == nil {
		slice := reflect.SliceOf(shape.DType.GoType())
		flat = reflect.MakeSlice(slice, shape.Size(), shape.Size()).Interface()
	}
	return &buffer{shape: shape, flat: flat}
}

func checkBuffer(buf backends.Buffer) (*buffer, error) {
	n, ok := buf.(*buffer)
	if !ok {
		return nil, fmt.Errorf("engine: a %T is not a buffer of this backend", buf)
	}
	if n.flat == nil {
		return nil, errors.New("engine: the buffer is already finalized")
	}
	return n, nil
}

// BufferFinalize implements backends.DataInterface.
func (b *Backend) BufferFinalize(buf backends.Buffer) error {
	n, err := checkBuffer(buf)
	if err == nil {
		b.pool.put(n)
	}
	return err
}

// BufferShape implements backends.DataInterface.
func (b *Backend) BufferShape(buf backends.Buffer) (shapes.Shape, error) {
	n, err := checkBuffer(buf)
	if err != nil {
		return shapes.Invalid(), err
	}
	return n.shape, nil
}

// BufferDeviceNum implements backends.DataInterface.
func (b *Backend) BufferDeviceNum(buf backends.Buffer) (backends.DeviceNum, error) {
	_, err := checkBuffer(buf)
	return 0, err
}

// BufferToFlatData implements backends.DataInterface.
func (b *Backend) BufferToFlatData(buf backends.Buffer, flat any) error {
	n, err := checkBuffer(buf)
	if err != nil {
		return err
	}
	return copyFlat(flat, n.flat)
}

func copyFlat(to, from any) error {
	dst, src := reflect.ValueOf(to), reflect.ValueOf(from)
	if dst.Type() != src.Type() || dst.Len() != src.Len() {
		return fmt.Errorf("engine: %d elements of %T cannot be copied to %d of %T", src.Len(), from,
			dst.Len(), to)
	}
	reflect.Copy(dst, src)
	return nil
}

// BufferFromFlatData implements backends.DataInterface.
func (b *Backend) BufferFromFlatData(
	device backends.DeviceNum, flat any, shape shapes.Shape,
) (backends.Buffer, error) {
	buf, into, err := b.NewSharedBuffer(device, shape)
	if err == nil {
		err = copyFlat(into, flat)
	}
	return buf, err
}

// HasSharedBuffers implements backends.DataInterface. All buffers are Go memory.
func (b *Backend) HasSharedBuffers() bool { return true }

// NewSharedBuffer implements backends.DataInterface.
func (b *Backend) NewSharedBuffer(
	device backends.DeviceNum, shape shapes.Shape,
) (backends.Buffer, any, error) {
	if device != 0 {
		return nil, nil, fmt.Errorf("engine: there is no device %d; the CPU is device 0", device)
	}
	if elementType[shape.DType] == 0 {
		return nil, nil, unsupported(shape.DType)
	}
	buf := b.allocate(shape)
	return buf, buf.flat, nil
}

// BufferData implements backends.DataInterface.
func (b *Backend) BufferData(buf backends.Buffer) (any, error) {
	n, err := checkBuffer(buf)
	if err != nil {
		return nil, err
	}
	return n.flat, nil
}

// BufferCopyToDevice implements backends.DataInterface. It always fails: the CPU is the only
// device.
func (b *Backend) BufferCopyToDevice(
	_ backends.Buffer, device backends.DeviceNum,
) (backends.Buffer, error) {
	return nil, fmt.Errorf(
		"engine: cannot copy a buffer to device %d: the CPU is the only device", device)
}

func unsupported(dtype dtypes.DType) error {
	return fmt.Errorf("engine: element type %s is not supported in a graph", dtype)
}
