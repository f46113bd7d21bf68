// Package onnx runs text encoders (Encoder) and other ONNX graphs (Graph) on ONNX Runtime. It is
// the only package that imports the runtime's Go wrapper.
//
// Sessions of the runtime live outside Go's heap. Whoever opens an Encoder or a Graph closes it;
// the garbage collector never does. Close waits for the runs in progress, so a session cannot be
// used after it was freed. Runtime.OpenSessions counts the sessions that are still open.
//
// On a CPU, an encoder has one session per core, and each session has one thread. That serves
// concurrent requests better than one session with many threads. The threads do not spin: spinning
// threads would take the cores from everything else.
//
// The package starts no goroutines of its own.
package onnx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	ort "github.com/yalue/onnxruntime_go"
)

// ErrClosed is returned by a run of an Encoder or a Graph that was closed.
var ErrClosed = errors.New("onnx: the session is closed")

// Runtime is the ONNX Runtime of this process. It is safe for concurrent use.
type Runtime struct{ dir string }

// loadedRuntime is the library that Start has loaded.
var loadedRuntime struct {
	sync.Mutex
	path string
}

// Start loads the runtime library. It is loaded once in a process: a second call with the same path
// returns the same runtime, a call with another path fails. The library is never unloaded, since
// that can hang; the end of the process frees everything.
func Start(libraryPath string) (*Runtime, error) {
	libraryPath, err := filepath.Abs(libraryPath)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	loadedRuntime.Lock()
	defer loadedRuntime.Unlock()
	rt := &Runtime{dir: filepath.Dir(libraryPath)}
	if loadedRuntime.path == libraryPath {
		return rt, nil
	}
	if loadedRuntime.path != "" {
		return nil, fmt.Errorf("onnx: cannot load %s: this process has already loaded %s",
			libraryPath, loadedRuntime.path)
	}
	if _, err := os.Stat(libraryPath); err != nil {
		return nil, fmt.Errorf("onnx: no runtime library: %w; run make build, or name its folder "+
			"with --assets", err)
	}
	// The published library sends usage data to its makers as soon as it starts, with an id that it
	// stores in the home folder, unless this variable is set before. The wrapper's DisableTelemetry
	// comes too late.
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	ort.SetSharedLibraryPath(libraryPath)
	if err := ort.InitializeEnvironment(ort.WithLogLevelError()); err != nil {
		return nil, fmt.Errorf("onnx: loading %s: %w", libraryPath, err)
	}
	loadedRuntime.path = libraryPath
	return rt, nil
}

// openSessions counts the native sessions of the process.
var openSessions atomic.Int64

// OpenSessions returns how many native sessions the process has open: those of encoders and graphs
// that were loaded and are not closed yet.
func (rt *Runtime) OpenSessions() int { return int(openSessions.Load()) }

// openNative loads a model from its bytes into a native session. The caller closes it with
// closeNative. Loading from bytes rather than from a path makes sure that the bytes that were
// hashed are the bytes that run.
func openNative(
	model []byte, inputs, outputs []string, options *ort.SessionOptions,
) (*ort.DynamicAdvancedSession, error) {
	s, err := ort.NewDynamicAdvancedSessionWithONNXData(model, inputs, outputs, options)
	if err == nil {
		openSessions.Add(1)
	}
	return s, err
}

func closeNative(s *ort.DynamicAdvancedSession) {
	_ = s.Destroy()
	openSessions.Add(-1)
}

// device is a parsed --device.
type device struct {
	cuda     bool
	index    int
	explicit bool // named by the user, not chosen by auto
}

// parseDevice reads auto, cpu, cuda or cuda:N.
func parseDevice(s string) (device, error) {
	switch name, n, indexed := strings.Cut(s, ":"); {
	case s == "" || s == "auto":
		return device{cuda: true}, nil
	case s == "cpu":
		return device{}, nil
	case name == "cuda" && !indexed:
		return device{cuda: true, explicit: true}, nil
	case name == "cuda":
		if i, err := strconv.Atoi(n); err == nil && i >= 0 {
			return device{cuda: true, index: i, explicit: true}, nil
		}
	}
	return device{}, fmt.Errorf("device %q is unknown; it is auto, cpu, cuda or cuda:N", s)
}

// cudaLibrary is the file beside the runtime library that GPU support needs.
const cudaLibrary = "libonnxruntime_providers_cuda.so"

// checkCUDA returns why a GPU cannot be used, nil if it may work.
func (rt *Runtime) checkCUDA() error {
	if _, err := os.Stat(filepath.Join(rt.dir, cudaLibrary)); err != nil {
		return fmt.Errorf("%s is not in %s, beside the runtime library", cudaLibrary, rt.dir)
	}
	return nil
}

// newSessionOptions returns the options of a session on the device. On a CPU, the session has the
// given number of threads. The caller destroys the options.
func newSessionOptions(
	d device,
	threads int,
	opt *EncoderOptions,
) (_ *ort.SessionOptions, err error) {
	so, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = so.Destroy()
		}
	}()
	for _, set := range []func() error{
		func() error { return so.SetIntraOpNumThreads(threads) },
		func() error { return so.SetInterOpNumThreads(1) },
		func() error { return so.SetExecutionMode(ort.ExecutionModeSequential) },
		func() error { return so.AddSessionConfigEntry("session.intra_op.allow_spinning", "0") },
		func() error { return so.AddSessionConfigEntry("session.inter_op.allow_spinning", "0") },
	} {
		if err := set(); err != nil {
			return nil, err
		}
	}
	if d.cuda {
		err = addCUDA(so, d, opt)
	}
	return so, err
}

func addCUDA(so *ort.SessionOptions, d device, opt *EncoderOptions) error {
	cuda, err := ort.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer cuda.Destroy()
	set := map[string]string{
		"device_id":             strconv.Itoa(d.index),
		"arena_extend_strategy": "kSameAsRequested",
	}
	if opt.ArenaExtendStrategy != "" {
		set["arena_extend_strategy"] = opt.ArenaExtendStrategy
	}
	if opt.GPUMemLimit > 0 {
		set["gpu_mem_limit"] = strconv.FormatInt(opt.GPUMemLimit, 10)
	}
	if err := cuda.Update(set); err != nil {
		return err
	}
	return so.AppendExecutionProviderCUDA(cuda)
}
