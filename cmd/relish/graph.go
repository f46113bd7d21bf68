package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"relish/embeddings/onnx"
	"relish/ranker/bundle"
	"relish/ranker/match"
	"relish/training/match/neural"
)

// onDevice returns what gives a bundle's match model to the device, a GPU, nil for the CPU: there, plain Go is faster.
func onDevice(rt *onnx.Runtime, device string, log *slog.Logger) func(dir string, b *bundle.Bundle) error {
	if device == "cpu" {
		return nil
	}
	return func(dir string, b *bundle.Bundle) error { return giveAway(rt, device, dir, b, log) }
}

// giveAway has the match model's user half, if the bundle has one, computed by its graph on a device.
func giveAway(rt *onnx.Runtime, device, dir string, b *bundle.Bundle, log *slog.Logger) error {
	for i, m := range b.Model.Matchers {
		n, ok := m.(*match.Neural)
		if !ok {
			continue
		}
		graph, err := os.ReadFile(filepath.Join(dir, match.GraphFile))
		if err != nil {
			return err
		}
		p, err := rt.Compile(graph, onnx.ProgramOptions{Device: device, Inputs: []string{neural.InputHistory, neural.InputNewest}, Outputs: []string{neural.OutputUser}})
		if err != nil {
			return fmt.Errorf("%s: %w", match.GraphFile, err)
		}
		w := n.Weights()
		half := &graphHalf{p, w.Length, w.Dim}
		if err := half.try(); err != nil {
			p.Close()
			return fmt.Errorf("%s: %w", match.GraphFile, err)
		}
		e := match.NewElsewhere(n, half, seldom(log, "the match model is computed in Go", time.Minute))
		// The program is the runtime's memory: it goes when the model's last request is answered.
		runtime.AddCleanup(e, func(p *onnx.Program) { p.Close() }, p)
		b.Model.Matchers[i] = e
	}
	return nil
}

// graphHalf computes users by a graph.
type graphHalf struct {
	program     *onnx.Program
	length, dim int
}

var _ match.UserHalf = (*graphHalf)(nil)

// Users implements match.UserHalf.
func (g *graphHalf) Users(n int, history, newest, users []float32) error {
	b, l, d := int64(n), int64(g.length), int64(g.dim)
	return g.program.Run(context.Background(), []onnx.Tensor{{Shape: []int64{b, l, d}, Data: history}, {Shape: []int64{b, l}, Data: newest}},
		[]onnx.Tensor{{Shape: []int64{b, d}, Data: users}})
}

// try runs the graph once: one of other shapes is refused before anybody waits for it.
func (g *graphHalf) try() error {
	newest := make([]float32, g.length)
	newest[0] = 1
	return g.Users(1, make([]float32, g.length*g.dim), newest, make([]float32, g.dim))
}

// seldom logs a failure at most once in a while.
func seldom(log *slog.Logger, what string, every time.Duration) func(error) {
	var last atomic.Int64
	return func(err error) {
		now, before := time.Now().UnixNano(), last.Load()
		if now-before > int64(every) && last.CompareAndSwap(before, now) {
			log.Warn(what, "reason", err)
		}
	}
}
