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
	"relish/ranker/signals"
	"relish/training/twotower"
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
	for i, m := range b.Model.Signals {
		n, ok := m.(*signals.TwoTower)
		if !ok {
			continue
		}
		graph, err := os.ReadFile(filepath.Join(dir, signals.UserTowerFile))
		if err != nil {
			return err
		}
		p, err := rt.LoadGraph(graph, onnx.GraphOptions{Device: device, Inputs: []string{twotower.InputHistory, twotower.InputNewest}, Outputs: []string{twotower.OutputUser}})
		if err != nil {
			return fmt.Errorf("%s: %w", signals.UserTowerFile, err)
		}
		w := n.Weights()
		half := &graphHalf{p, w.HistoryLength, w.Dim}
		if err := half.try(); err != nil {
			p.Close()
			return fmt.Errorf("%s: %w", signals.UserTowerFile, err)
		}
		e := signals.NewRemoteUserTower(n, half, seldom(log, "the match model is computed in Go", time.Minute))
		// The program is the runtime's memory: it goes when the model's last request is answered.
		runtime.AddCleanup(e, func(p *onnx.Graph) { p.Close() }, p)
		b.Model.Signals[i] = e
	}
	return nil
}

// graphHalf computes users by a graph.
type graphHalf struct {
	program     *onnx.Graph
	length, dim int
}

var _ signals.UserTower = (*graphHalf)(nil)

// EncodeUsers implements match.UserHalf.
func (g *graphHalf) EncodeUsers(n int, history, newest, users []float32) error {
	b, l, d := int64(n), int64(g.length), int64(g.dim)
	return g.program.Run(context.Background(), []onnx.Tensor{{Shape: []int64{b, l, d}, Data: history}, {Shape: []int64{b, l}, Data: newest}},
		[]onnx.Tensor{{Shape: []int64{b, d}, Data: users}})
}

// try runs the graph once: one of other shapes is refused before anybody waits for it.
func (g *graphHalf) try() error {
	newest := make([]float32, g.length)
	newest[0] = 1
	return g.EncodeUsers(1, make([]float32, g.length*g.dim), newest, make([]float32, g.dim))
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
