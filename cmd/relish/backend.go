package main

import (
	"path/filepath"
	"strings"

	"github.com/gomlx/gomlx/backends"

	"relish/embeddings/onnx"
	gomlx "relish/training/engine"
)

// openBackend opens what trains match models, on a GPU if --device names one. The caller finalizes it.
func (f *encoderFlags) openBackend() (backends.Backend, error) {
	assets, err := f.assets()
	if err != nil {
		return nil, err
	}
	rt, err := onnx.Start(filepath.Join(assets, "onnxruntime", "libonnxruntime.so"))
	if err != nil {
		return nil, err
	}
	device := "cpu"
	if strings.HasPrefix(f.Device, "cuda") {
		device = f.Device
	}
	return gomlx.Open(rt, device, gomlx.Options{})
}
