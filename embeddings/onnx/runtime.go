// Package onnx runs text encoders (Encoder), and any other graph (Program), on ONNX Runtime. It is the only
// package that imports the runtime's wrapper, whose objects live outside Go's heap and must be destroyed
// by hand.
//
// On a CPU each of an encoder's sessions has one thread and there are as many sessions as cores: that serves concurrent
// requests better than one session with many threads, and spinning threads would take the cores from
// everything else.
package onnx

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// Runtime is the started ONNX Runtime of this process.
type Runtime struct{ dir string }

var loadedRuntime struct {
	sync.Mutex
	path string
}

// Start loads the runtime library, once in a process: a second call with the same path gives the same
// runtime, one with another path fails. It is never unloaded: that can hang, and the process's end
// frees all.
func Start(libraryPath string) (*Runtime, error) {
	loadedRuntime.Lock()
	defer loadedRuntime.Unlock()
	rt := &Runtime{dir: filepath.Dir(libraryPath)}
	if loadedRuntime.path == libraryPath {
		return rt, nil
	}
	if loadedRuntime.path != "" {
		return nil, fmt.Errorf("onnx: the runtime is already loaded from %s", loadedRuntime.path)
	}
	if _, err := os.Stat(libraryPath); err != nil {
		return nil, fmt.Errorf("onnx: no runtime library: %w; run make build, or name its folder with --assets", err)
	}
	// The published library reports its use to its makers, from the moment it starts and with an id that it
	// leaves in the home folder, unless this is set before. The wrapper's DisableTelemetry comes too late.
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

// device is a parsed --device.
type device struct {
	cuda     bool
	index    int
	explicit bool // asked for by name, not by auto
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

// cudaLibrary is the file beside the runtime library without which there is no GPU.
const cudaLibrary = "libonnxruntime_providers_cuda.so"

// hasCUDA says why a GPU cannot be used, nil if it may.
func (rt *Runtime) hasCUDA() error {
	if _, err := os.Stat(filepath.Join(rt.dir, cudaLibrary)); err != nil {
		return fmt.Errorf("%s is not beside the runtime library", cudaLibrary)
	}
	return nil
}

// newSessionOptions makes a session's options for the device, with so many threads of its own on a CPU; the caller
// destroys them.
func newSessionOptions(d device, threads int, opt *EncoderOptions) (_ *ort.SessionOptions, err error) {
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
		if err = set(); err != nil {
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
	set := map[string]string{"device_id": strconv.Itoa(d.index), "arena_extend_strategy": "kSameAsRequested"}
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
