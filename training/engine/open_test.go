package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/backends"
	. "github.com/gomlx/gomlx/pkg/core/graph"

	"relish/training/engine"
)

func TestOpen(t *testing.T) {
	rt := start(t)
	empty, broken := t.TempDir(), t.TempDir()
	t.Setenv("HOME", empty)
	if err := os.WriteFile(filepath.Join(broken, "xla_cuda_plugin.so"), []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		device, plugins string
		want            []string // parts of the error, nil: a backend
	}{
		{"", empty, nil},
		{"cpu", empty, nil},
		{"cuda", empty, []string{"no GPU", empty, "xla_cuda_plugin.so", engine.PluginPath, "--device cpu"}},
		{"cuda:1", "", []string{"no GPU"}},
		{"cuda:0", empty + ":" + broken, []string{"cuda:0", filepath.Join(broken, "xla_cuda_plugin.so"), "--device cpu"}},
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
			if got := values(t, run(t, b, func(in []*Node) []*Node { return []*Node{Neg(in[0])} }, []float32{3})[0]); got[0] != -3 {
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
	if _, err := engine.New(nil, engine.Options{}); err == nil || !strings.Contains(err.Error(), "start it first") {
		t.Errorf("without a runtime: %v", err)
	}
	for _, opt := range []engine.Options{{Threads: -1}, {MaxSessions: -1}} {
		if _, err := engine.New(start(t), opt); err == nil || !strings.Contains(err.Error(), "negative") {
			t.Errorf("%+v: %v", opt, err)
		}
	}
}

// What Capabilities lists is what can be built, and nothing else is.
func TestCapabilities(t *testing.T) {
	c := open(t, engine.Options{}).Capabilities()
	if !c.Operations[backends.OpTypeScatterSum] || c.Operations[backends.OpTypeFFT] {
		t.Errorf("operations %v", c.Operations)
	}
}
