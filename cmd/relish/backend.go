package main

import (
	"strings"

	"github.com/gomlx/gomlx/backends"

	gomlx "relish/training/engine"
)

// openBackend opens what trains match models, on a GPU if --device names one. The caller finalizes it.
func (f *encoderFlags) openBackend() (backends.Backend, error) {
	rt, _, err := f.startRuntime()
	if err != nil {
		return nil, err
	}
	device := "cpu"
	if strings.HasPrefix(f.Device, "cuda") {
		device = f.Device
	}
	return gomlx.Open(rt, device, gomlx.Options{})
}
