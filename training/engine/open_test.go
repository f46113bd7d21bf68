package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"

	"relish/internal/onnxtest"
	"relish/training/engine"
)

func TestOpen(t *testing.T) {
	rt := onnxtest.Start(t)
	empty, broken := t.TempDir(), t.TempDir()
	t.Setenv("HOME", empty)
	plugin := filepath.Join(broken, "xla_cuda_plugin.so")
	if err := os.WriteFile(plugin, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		device, plugins string
		want            []string // parts of the error; nil if Open succeeds
	}{
		{"", empty, nil},
		{"cpu", empty, nil},
		{"cuda", empty, []string{"no GPU", empty, "xla_cuda_plugin.so", engine.PluginPath,
			"--device cpu"}},
		{"cuda:1", "", []string{"no GPU"}},
		{"cuda:0", empty + ":" + broken,
			[]string{"cuda:0", plugin, "--device cpu"}},
		{"cuda:x", empty, []string{"cuda:x", "cpu, cuda or cuda:N"}},
		{"cuda:-1", empty, []string{"unknown"}},
		{"gpu", empty, []string{"unknown"}},
	} {
		t.Setenv(engine.PluginPath, c.plugins)
		b, err := engine.Open(rt, c.device, engine.Options{Threads: 1})
		if c.want == nil {
			if err != nil {
				t.Errorf("%q: %v", c.device, err)
				continue
			}
			negate := func(in []*Node) []*Node { return []*Node{Neg(in[0])} }
			if got := values(t, run(t, b, negate, []float32{3})[0]); got[0] != -3 {
				t.Errorf("%q: -3 is %v", c.device, got)
			}
			b.Finalize()
			continue
		}
		for _, part := range c.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: got %v, want an error with %q", c.device, err, part)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	if _, err := engine.New(nil, engine.Options{}); err == nil ||
		!strings.Contains(err.Error(), "start it first") {
		t.Errorf("without a runtime: %v", err)
	}
	for _, opt := range []engine.Options{{Threads: -1}, {MaxSessions: -1}} {
		if _, err := engine.New(onnxtest.Start(t), opt); err == nil ||
			!strings.Contains(err.Error(), "negative") {
			t.Errorf("%+v: %v", opt, err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	c := open(t, engine.Options{}).Capabilities()
	if !c.Operations[backends.OpTypeScatterSum] || c.Operations[backends.OpTypeFFT] ||
		!c.DTypes[dtypes.Float32] || c.DTypes[dtypes.Complex64] {
		t.Errorf("%v", c)
	}
}

// Buffers are Go memory: the same slice goes in and comes out. A freed slice is reused, and its
// buffer cannot be used again.
func TestBuffers(t *testing.T) {
	b := open(t, engine.Options{})
	shape := shapes.Make(dtypes.Float32, 2, 3)
	buf, err := b.BufferFromFlatData(0, []float32{1, 2, 3, 4, 5, 6}, shape)
	if err != nil {
		t.Fatal(err)
	}
	back := make([]float32, 6)
	if err := b.BufferToFlatData(buf, back); err != nil || back[5] != 6 {
		t.Errorf("got back %v, %v", back, err)
	}
	data, err := b.BufferData(buf)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.BufferFinalize(buf); err != nil {
		t.Fatal(err)
	}
	_, again, err := b.NewSharedBuffer(0, shape)
	if err != nil || &again.([]float32)[0] != &data.([]float32)[0] {
		t.Errorf("freed memory was not used again: %v", err)
	}
	_, shapeErr := b.BufferShape(buf)
	_, deviceErr := b.BufferCopyToDevice(buf, 1)
	_, _, sharedErr := b.NewSharedBuffer(1, shape)
	for name, err := range map[string]error{
		"freed twice": b.BufferFinalize(buf), "shape of a freed buffer": shapeErr,
		"another device": deviceErr, "created on another device": sharedErr,
		"another length":     b.BufferToFlatData(newBuffer(t, b, shape), make([]float32, 5)),
		"of another backend": b.BufferFinalize("x"),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "engine: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func newBuffer(t *testing.T, b *engine.Backend, shape shapes.Shape) backends.Buffer {
	t.Helper()
	buf, _, err := b.NewSharedBuffer(0, shape)
	if err != nil {
		t.Fatal(err)
	}
	return buf
}
