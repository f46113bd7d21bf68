// Package engine trains neural models from Go: GoMLX (model code, gradients, optimizers) on ONNX Runtime.
//
// GoMLX writes a computation as calls to a backend. The backend here (Backend) collects the calls as nodes
// (node), writes them as an ONNX graph (plan, proto), and runs that on the runtime which also serves the
// models (Executable), over Go memory that is handed in and out without copies. It is 10 to 60 times as fast
// as GoMLX's own CPU backend: see docs/performance.md. Export writes the same nodes as a file with a free
// batch size.
//
// Two things are not as in GoMLX. Random numbers are drawn in Go before a graph runs (RNGBitGenerator). And
// what lies outside a table's rows when scattering is an error instead of being left out (ScatterSum).
//
// On a GPU the same model code runs on GoMLX's XLA backend, if its CUDA plugin is installed: Open chooses.
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

// PluginPath is the environment variable that lists the folders, separated by colons, in which XLA's CUDA
// plugin is looked for, before ~/.local/lib/go-xla and /usr/local/lib/go-xla.
const PluginPath = pjrt.PJRTPluginPathsEnv

// pluginFiles are the names of the file that drives a GPU: as XLA calls it, and as it lies in the Python
// packages jax-cuda12-pjrt and jax-cuda13-pjrt.
var pluginFiles = []string{"pjrt_c_api_cuda_plugin.so", "xla_cuda_plugin.so"}

func init() {
	xla.EnableAutoInstall(false) // training must not download anything by itself
}

// Open gives the backend for a device: "cpu" (also "") is ONNX Runtime with the given options, "cuda" or
// "cuda:N" is XLA on the N-th GPU (0). A GPU that is asked for and cannot be had is an error, which says
// what is missing: training on the CPU instead would take a hundred times as long. The caller finalizes
// the backend.
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
	return 0, false, fmt.Errorf("engine: device %q is unknown; it is cpu, cuda or cuda:N", device)
}

// openCUDA loads XLA's plugin. The other GPUs are hidden from it, and memory is taken as it is needed
// rather than most of it at once.
func openCUDA(index int) (backends.Backend, error) {
	path, err := findPlugin()
	if err != nil {
		return nil, err
	}
	// The library's own check points XLA to a folder of its author's machine.
	if err := os.Setenv("GOPJRT_CUDA_CHECKS", "no"); err != nil {
		return nil, err
	}
	b, err := xla.NewWithOptions(path, pjrt.NamedValuesMap{"visible_devices": []int64{int64(index)}, "preallocate": false})
	if err != nil {
		return nil, fmt.Errorf("engine: device cuda:%d: %s cannot be used: %w; train with --device cpu", index, path, err)
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
	return "", fmt.Errorf("engine: no GPU: XLA's plugin (%s, of the Python package jax-cuda13-pjrt or jax-cuda12-pjrt) is in none of %s; name its folder in %s, or train with --device cpu",
		strings.Join(pluginFiles, " or "), strings.Join(dirs, ", "), PluginPath)
}
