package app

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"relish/embeddings/onnx"
	"relish/internal/regularfile"
	"relish/ranker/bundle"
	"relish/ranker/signals"
	"relish/training/twotower"
)

// towerOnDevice returns a function that moves the user tower of a bundle's two-tower model to a
// GPU. It returns nil for the CPU, where the tower in plain Go is faster than the graph.
func towerOnDevice(
	rt *onnx.Runtime, device string, log *slog.Logger,
) func(context.Context, string, *bundle.Bundle) error {
	if device == "cpu" {
		return nil
	}
	return func(ctx context.Context, dir string, b *bundle.Bundle) error {
		return moveTower(ctx, rt, device, dir, b, log)
	}
}

// moveTower replaces the two-tower signal of the bundle in dir, if it has one, by one whose user
// tower is computed by the bundle's ONNX graph on the device.
func moveTower(
	ctx context.Context, rt *onnx.Runtime, device, dir string, b *bundle.Bundle, log *slog.Logger,
) error {
	for i, signal := range b.Model.Signals {
		model, ok := signal.(*signals.TwoTower)
		if !ok {
			continue
		}
		tower, err := openTower(ctx, rt, device, dir, model)
		if err != nil {
			return fmt.Errorf("%s: %w", signals.UserTowerFile, err)
		}
		const fallback = "the user tower is computed on the CPU"
		onError := logAtMostEvery(time.Minute, log, fallback)
		remote := signals.NewRemoteUserTower(model, tower, onError)
		// A batch may outlive the requests that gave up on it, so the graph is closed after it.
		b.OnClose(func() {
			remote.Close()
			tower.graph.Close()
		})
		b.Model.Signals[i] = remote
	}
	return nil
}

// openTower loads the user tower of the two-tower model of the bundle in dir onto the device. The
// caller closes its graph.
func openTower(
	ctx context.Context, rt *onnx.Runtime, device, dir string, model *signals.TwoTower,
) (*graphTower, error) {
	data, err := regularfile.Read(dir, signals.UserTowerFile, bundle.MaxBytes)
	if err != nil {
		return nil, err
	}
	graph, err := rt.LoadGraph(data, onnx.GraphOptions{
		Device:  device,
		Inputs:  []string{twotower.InputHistory, twotower.InputNewest},
		Outputs: []string{twotower.OutputUser},
	})
	if err != nil {
		return nil, err
	}
	weights := model.Weights()
	tower := &graphTower{graph, weights.HistoryLength, weights.Dim}
	if err := tower.verify(ctx, model); err != nil {
		graph.Close()
		return nil, err
	}
	return tower, nil
}

// verifyTower checks, on the CPU, that the graph of the bundle's user tower gives the vectors of
// the tower in plain Go. A hostile graph can end the process: call it in a child process. A bundle
// without a two-tower model has nothing to check.
func verifyTower(ctx context.Context, rt *onnx.Runtime, dir string, b *bundle.Bundle) error {
	for _, signal := range b.Model.Signals {
		if model, ok := signal.(*signals.TwoTower); ok {
			tower, err := openTower(ctx, rt, "cpu", dir, model)
			if err != nil {
				return fmt.Errorf("%s: %w", signals.UserTowerFile, err)
			}
			tower.graph.Close()
		}
	}
	return nil
}

// graphTower computes the user tower by an ONNX graph.
type graphTower struct {
	graph       *onnx.Graph
	length, dim int // of a history and of a vector
}

var _ signals.UserTower = (*graphTower)(nil)

// towerTimeout ends one run of the graph, which takes milliseconds.
const towerTimeout = 10 * time.Second

// EncodeUsers implements signals.UserTower. It has no context: a batch serves many requests.
func (g *graphTower) EncodeUsers(n int, history, newest, users []float32) error {
	return g.encode(context.Background(), n, history, newest, users)
}

func (g *graphTower) encode(ctx context.Context, n int, history, newest, users []float32) error {
	ctx, cancel := context.WithTimeout(ctx, towerTimeout)
	defer cancel()
	batch, length, dim := int64(n), int64(g.length), int64(g.dim)
	inputs := []onnx.Tensor{
		{Shape: []int64{batch, length, dim}, Data: history},
		{Shape: []int64{batch, length}, Data: newest},
	}
	outputs := []onnx.Tensor{{Shape: []int64{batch, dim}, Data: users}}
	return g.graph.Run(ctx, inputs, outputs)
}

// towerTolerance is the largest accepted difference of a number that the graph gives from the one
// that plain Go gives, relative to the larger of the latter and 1. It allows for TF32 on a GPU.
const towerTolerance = 0.02

// verify encodes users of one and of many items by the graph and in plain Go, and returns an error
// if the vectors differ. A graph of another model or of other shapes is refused before it serves.
func (g *graphTower) verify(ctx context.Context, model *signals.TwoTower) error {
	for _, items := range []int{1, g.length} {
		history := make([][]float32, items)
		flat, newest := make([]float32, g.length*g.dim), make([]float32, g.length)
		for i := range history {
			history[i] = flat[i*g.dim : (i+1)*g.dim]
			for k := range history[i] {
				history[i][k] = float32(math.Sin(float64(1 + i*g.dim + k))) // any vector will do
			}
		}
		newest[items-1] = 1
		got := make([]float32, g.dim)
		if err := g.encode(ctx, 1, flat, newest, got); err != nil {
			return err
		}
		for k, want := range model.UserVector(history) {
			limit := towerTolerance * max(1, math.Abs(float64(want)))
			if diff := math.Abs(float64(got[k] - want)); !(diff <= limit) { // NaN is refused, too
				return fmt.Errorf("the graph gives another user vector than the model's "+
					"weights: %g instead of %g; train again",
					got[k], want)
			}
		}
	}
	return nil
}

// logAtMostEvery returns a function that logs a failure unless it has logged one within the
// interval. It does not block and is safe for concurrent use.
func logAtMostEvery(interval time.Duration, log *slog.Logger, message string) func(error) {
	var last atomic.Int64 // Unix ns
	return func(err error) {
		now, before := time.Now().UnixNano(), last.Load()
		if now-before > int64(interval) && last.CompareAndSwap(before, now) {
			log.Warn(message, "error", err)
		}
	}
}
