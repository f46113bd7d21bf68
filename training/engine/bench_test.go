package engine_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gomlx/gomlx/backends"
	. "github.com/gomlx/gomlx/pkg/core/graph"

	"relish/training/engine"
)

// BenchmarkStep trains the same model on both backends in turn. It reports the time of a step on
// each backend and their ratio. Run it with -benchtime 3x: a step on GoMLX's own backend takes up
// to half a minute.
func BenchmarkStep(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	big := transformer{layers: 2, dim: 64, heads: 2, length: 50, items: 17000}
	for _, c := range []struct {
		name string
		loss func(w weights) func(in []*Node) *Node
		in   func() []any
	}{
		{"mlp", func(w weights) func(in []*Node) *Node {
			return func(in []*Node) *Node { return mlp(w, in[0], in[1], 64, 256, 256, 10) }
		}, func() []any { return []any{noise(r, 256, 64), pick(r, 10, 256)} }},
		{"transformer", func(w weights) func(in []*Node) *Node {
			return func(in []*Node) *Node { return big.loss(w, in[0], in[1], in[2]) }
		}, func() []any {
			return []any{pick(r, big.items, 128, big.length), pick(r, big.items, 128, big.length),
				pick(r, big.items, 1024)}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			sides := map[string]backends.Backend{
				"onnx":     open(b, engine.Options{}),
				"simplego": simpleGo(b),
			}
			steps, took := map[string]func(in ...any) float64{}, map[string]time.Duration{}
			for name, side := range sides {
				w := newWeights(1)
				steps[name] = stepper(b, side, w, c.loss(w))
				steps[name](c.in()...)
			}
			for b.Loop() {
				for name, step := range steps {
					in := c.in()
					start := time.Now()
					step(in...)
					took[name] += time.Since(start)
				}
			}
			for name, d := range took {
				b.ReportMetric(float64(d.Microseconds())/1000/float64(b.N), name+"-ms")
			}
			b.ReportMetric(float64(took["simplego"])/float64(took["onnx"]), "ratio")
		})
	}
}
