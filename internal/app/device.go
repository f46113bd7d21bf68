package app

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

// towerOnDevice returns a function that moves the user tower of a bundle's two-tower model to a GPU.
// It returns nil for the CPU, where the tower in plain Go is faster than the graph.
func towerOnDevice(rt *onnx.Runtime, device string, log *slog.Logger) func(dir string, b *bundle.Bundle) error {
	if device == "cpu" {
		return nil
	}
	return func(dir string, b *bundle.Bundle) error { return moveTower(rt, device, dir, b, log) }
}

// moveTower replaces the two-tower signal of the bundle in dir, if it has one, by one whose user
// tower is computed by the bundle's ONNX graph on the device.
func moveTower(rt *onnx.Runtime, device, dir string, b *bundle.Bundle, log *slog.Logger) error {
	for i, signal := range b.Model.Signals {
		model, ok := signal.(*signals.TwoTower)
		if !ok {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, signals.UserTowerFile))
		if err != nil {
			return err
		}
		graph, err := rt.LoadGraph(data, onnx.GraphOptions{
			Device:  device,
			Inputs:  []string{twotower.InputHistory, twotower.InputNewest},
			Outputs: []string{twotower.OutputUser},
		})
		if err != nil {
			return fmt.Errorf("%s: %w", signals.UserTowerFile, err)
		}
		weights := model.Weights()
		tower := &graphTower{graph, weights.HistoryLength, weights.Dim}
		if err := tower.check(); err != nil {
			graph.Close()
			return fmt.Errorf("%s: %w", signals.UserTowerFile, err)
		}
		const fallback = "the user tower is computed on the CPU"
		remote := signals.NewRemoteUserTower(model, tower, logAtMostEvery(time.Minute, log, fallback))
		// The graph's memory belongs to the runtime. It is freed after the last request of the model.
		runtime.AddCleanup(remote, func(g *onnx.Graph) { g.Close() }, graph)
		b.Model.Signals[i] = remote
	}
	return nil
}

// graphTower computes the user tower by an ONNX graph.
type graphTower struct {
	graph       *onnx.Graph
	length, dim int // of a history and of a vector
}

var _ signals.UserTower = (*graphTower)(nil)

// EncodeUsers implements signals.UserTower.
func (g *graphTower) EncodeUsers(n int, history, newest, users []float32) error {
	batch, length, dim := int64(n), int64(g.length), int64(g.dim)
	inputs := []onnx.Tensor{
		{Shape: []int64{batch, length, dim}, Data: history},
		{Shape: []int64{batch, length}, Data: newest},
	}
	outputs := []onnx.Tensor{{Shape: []int64{batch, dim}, Data: users}}
	return g.graph.Run(context.Background(), inputs, outputs)
}

// check runs the graph once, so that a graph with other shapes is refused before it serves.
func (g *graphTower) check() error {
	newest := make([]float32, g.length)
	newest[0] = 1
	return g.EncodeUsers(1, make([]float32, g.length*g.dim), newest, make([]float32, g.dim))
}

// logAtMostEvery returns a function that logs a failure unless it has logged one within the interval.
// It does not block and is safe for concurrent use.
func logAtMostEvery(interval time.Duration, log *slog.Logger, message string) func(error) {
	var last atomic.Int64 // Unix ns
	return func(err error) {
		now, before := time.Now().UnixNano(), last.Load()
		if now-before > int64(interval) && last.CompareAndSwap(before, now) {
			log.Warn(message, "reason", err)
		}
	}
}
