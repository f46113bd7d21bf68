// Package engine trains neural models in Go. It runs GoMLX (model code, gradients, optimizers) on
// ONNX Runtime.
//
// GoMLX describes a computation by calls to a backend. The backend of this package, Backend, works
// in four steps. Builder collects the calls as nodes. plan orders them and encodes an ONNX graph.
// Executable runs the graph on the ONNX Runtime that also serves the models. Buffers are Go memory
// that the runtime reads and writes without copies. This is 10 to 60 times as fast as GoMLX's own
// CPU backend, see docs/performance.md. Export writes the same nodes as an ONNX file with a free
// batch size.
//
// Two things differ from other GoMLX backends. Go draws random numbers before a graph runs, see
// RNGBitGenerator. An index out of range is an error when scattering, see ScatterSum; GoMLX ignores
// it.
//
// On a GPU the same model code runs on GoMLX's XLA backend, if its CUDA plugin is installed. Open
// chooses the backend.
package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gomlx/go-xla/pkg/pjrt"
	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/xla"

	"relish/embeddings/onnx"
)

// PluginPath is the name of the environment variable that lists folders with XLA's CUDA plugin,
// separated by colons. Open searches these first, then ~/.local/lib/go-xla and
// /usr/local/lib/go-xla.
const PluginPath = pjrt.PJRTPluginPathsEnv

// pluginFiles are the possible names of the plugin's file: the name that XLA uses, and the name in
// the Python packages jax-cuda12-pjrt and jax-cuda13-pjrt.
var pluginFiles = []string{"pjrt_c_api_cuda_plugin.so", "xla_cuda_plugin.so"}

func init() {
	xla.EnableAutoInstall(false) // training must not download anything by itself
}

// Open returns the backend for a device. "cpu" or "" selects ONNX Runtime with the given options.
// "cuda" or "cuda:N" selects XLA on GPU N; N is 0 by default. If the GPU is not available, Open
// returns an error that says what is missing. It does not fall back to the CPU, because training
// there takes about a hundred times as long. The caller must finalize the backend.
func Open(rt *onnx.Runtime, device string, opt Options) (backends.Backend, error) {
	index, cuda, err := parseDevice(device)
	if err != nil {
		return nil, err
	}
	if !cuda {
		return New(rt, opt)
	}
	return openCUDA(index)
}

func parseDevice(device string) (index int, cuda bool, err error) {
	name, n, indexed := strings.Cut(device, ":")
	switch {
	case device == "" || device == "cpu":
		return 0, false, nil
	case name == "cuda" && !indexed:
		return 0, true, nil
	case name == "cuda":
		if i, err := strconv.Atoi(n); err == nil && i >= 0 {
			return i, true, nil
		}
	}
	return 0, false, fmt.Errorf("engine: unknown device %q; use cpu, cuda or cuda:N", device)
}

// openCUDA loads XLA's plugin. It hides the other GPUs and allocates GPU memory on demand, instead
// of most of it at once.
func openCUDA(index int) (backends.Backend, error) {
	path, err := findPlugin()
	if err != nil {
		return nil, err
	}
	// The library's own check reads a folder that exists only on its author's machine.
	if err := os.Setenv("GOPJRT_CUDA_CHECKS", "no"); err != nil {
		return nil, err
	}
	b, err := xla.NewWithOptions(path,
		pjrt.NamedValuesMap{"visible_devices": []int64{int64(index)}, "preallocate": false})
	if err != nil {
		return nil, fmt.Errorf(
			"engine: device cuda:%d: cannot use %s: %w; fix the plugin or "+
				"train with --device cpu", index, path, err)
	}
	return b, nil
}

func findPlugin() (string, error) {
	dirs := filepath.SplitList(os.Getenv(PluginPath))
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".local", "lib", "go-xla"))
	}
	dirs = append(dirs, "/usr/local/lib/go-xla")
	for _, dir := range dirs {
		for _, name := range pluginFiles {
			path, err := filepath.Abs(filepath.Join(dir, name))
			if err != nil {
				return "", err
			}
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf(
		"engine: no GPU: XLA's CUDA plugin (%s) is in none of the folders %s; install the Python "+
			"package jax-cuda13-pjrt or jax-cuda12-pjrt and set %s to the folder of the plugin, "+
			"or train with --device cpu",
		strings.Join(pluginFiles, " or "), strings.Join(dirs, ", "), PluginPath)
}
