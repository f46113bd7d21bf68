package onnx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	ort "github.com/yalue/onnxruntime_go"
)

// fakeGPU opens sessions that say they run on a GPU. They run on the CPU until lost is set; then
// every run fails.
type fakeGPU struct {
	lost      atomic.Bool
	cpuBroken atomic.Bool // the CPU has no memory for sessions
	opened    atomic.Int64
}

var (
	errGPULost  = errors.New("CUDA failure 719: unspecified launch failure")
	errNoMemory = errors.New("out of memory")
)

func (g *fakeGPU) open(e *Encoder, d device) (nativeSession, error) {
	if !d.cuda && g.cpuBroken.Load() {
		return nil, errNoMemory
	}
	native, err := openSession(e, device{})
	if err != nil || !d.cuda {
		return native, err
	}
	g.opened.Add(1)
	return &fakeGPUSession{native, g}, nil
}

type fakeGPUSession struct {
	nativeSession
	gpu *fakeGPU
}

func (s *fakeGPUSession) RunWithOptions(in, out []ort.Value, opt *ort.RunOptions) error {
	if s.gpu.lost.Load() {
		return errGPULost
	}
	return s.nativeSession.RunWithOptions(in, out, opt)
}

// gpuRuntime is a runtime that seems to have support for GPUs.
func gpuRuntime(t *testing.T) *Runtime {
	t.Helper()
	start(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, cudaLibrary), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return &Runtime{dir: dir}
}

func (g *fakeGPU) encoder(t *testing.T, opt EncoderOptions) *Encoder {
	t.Helper()
	opt.Device, opt.open = "cuda", g.open
	e, err := loadEncoder(t.Context(), gpuRuntime(t), filepath.Join(cache, "encoder", "int8"), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// The context ends the trial of a new encoder, and no session stays open.
func TestTrialEndsWithItsContext(t *testing.T) {
	before := start(t).OpenSessions()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, device := range []string{"cpu", "cuda"} {
		opt := EncoderOptions{Device: device, open: new(fakeGPU).open}
		_, err := loadEncoder(ctx, gpuRuntime(t), filepath.Join(cache, "encoder", "int8"), opt)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", device, err)
		}
	}
	if n := start(t).OpenSessions() - before; n != 0 {
		t.Errorf("%d sessions stay open", n)
	}
}

// If the GPU is lost while requests are served, the encoder is loaded on the CPU, and each run is
// tried again there. No request fails, and the sessions of the GPU are freed.
func TestLostGPU(t *testing.T) {
	before := start(t).OpenSessions()
	var gpu fakeGPU
	var told atomic.Int64
	e := gpu.encoder(t, EncoderOptions{OnFallback: func(reason string) {
		if told.Add(1); !strings.Contains(reason, errGPULost.Error()) {
			t.Errorf("the reason is %q", reason)
		}
	}})
	if e.Device() != "cuda:0" || e.BatchTokens() != batchTokensCUDA || e.Parallel() != 1 {
		t.Fatalf("the encoder runs on %s", e.Device())
	}
	want := encode(t, e, "a sailing boat")[0]
	var requests sync.WaitGroup
	for i := range 8 {
		requests.Go(func() {
			for n := range 20 {
				if i == 0 && n == 5 {
					gpu.lost.Store(true)
				}
				out := [][]float32{make([]float32, e.Dim())}
				ids := [][]int32{e.Tokenize(nil, "a sailing boat")}
				err := e.Run(context.Background(), ids, out)
				if err != nil || !slices.Equal(out[0], want) {
					t.Errorf("a request during the loss: %v, or another vector", err)
				}
			}
		})
	}
	requests.Wait()
	if e.Device() != "cpu" || e.BatchTokens() != batchTokensInt8 || told.Load() != 1 ||
		!strings.Contains(e.FallbackReason(), "the GPU failed") {
		t.Errorf("on %s, told %d times, reason %q", e.Device(), told.Load(), e.FallbackReason())
	}
	if n := start(t).OpenSessions() - before; n != 1 {
		t.Errorf("%d native sessions are open, want one", n)
	}
	e.Close()
	if n := start(t).OpenSessions() - before; n != 0 {
		t.Errorf("%d sessions are open after Close", n)
	}
}

// A batch that is at fault itself fails, and the encoder stays on its GPU. If the CPU cannot take
// over, the error has both reasons. A GPU that fails at the start is not used.
func TestGPUIsKeptOrRefused(t *testing.T) {
	var gpu fakeGPU
	e := gpu.encoder(t, EncoderOptions{})
	out := [][]float32{make([]float32, e.Dim())}
	if err := e.Run(t.Context(), [][]int32{{101, 1 << 30, 102}}, out); err == nil {
		t.Error("a token id out of range gives a vector")
	}
	if e.Device() != "cuda:0" {
		t.Errorf("the encoder has left a good GPU: %s", e.FallbackReason())
	}
	gpu.lost.Store(true)
	gpu.cpuBroken.Store(true)
	ids := [][]int32{e.Tokenize(nil, "a sailing boat")}
	err := e.Run(t.Context(), ids, out)
	if !errors.Is(err, errGPULost) || !errors.Is(err, errNoMemory) {
		t.Errorf("neither device works: %v", err)
	}
	gpu.cpuBroken.Store(false)
	if err := e.Run(t.Context(), ids, out); err != nil || e.Device() != "cpu" {
		t.Errorf("once the CPU has memory: %v, on %s", err, e.Device())
	}

	e = gpu.encoder(t, EncoderOptions{})
	if e.Device() != "cpu" || !strings.Contains(e.FallbackReason(), errGPULost.Error()) {
		t.Errorf("a GPU that fails at the start: on %s, %q", e.Device(), e.FallbackReason())
	}
}
