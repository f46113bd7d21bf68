package app

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"relish/internal/onnxtest"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/signals"
	"relish/training/twotower"
)

// twoTowerModel returns a two-tower model with random weights.
func twoTowerModel(t *testing.T, seed uint64) *signals.TwoTower {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	noise := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(r.NormFloat64() * 0.3)
		}
		return out
	}
	const d, length, items = 16, 12, 50
	ids := make([]string, items)
	for i := range ids {
		ids[i] = fmt.Sprint("i", i)
	}
	n, err := signals.NewTwoTower(signals.TwoTowerWeights{
		Layers: 1, Dim: d, Heads: 2, HistoryLength: length,
		Items: ranker.NewItemTable(ids), Vectors: noise(items * d), Bias: noise(items),
		Gain: noise(d),
		Blocks: []signals.AttentionBlock{{
			Query: noise(d * d), Key: noise(d * d), Value: noise(d * d), Out: noise(d * d),
			PositionBias: noise(2 * length),
			Up:           noise(2 * d * d), UpBias: noise(2 * d), Down: noise(2 * d * d),
			DownBias: noise(d),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestGraphServesTwoTower runs the graph that a GPU would run, on the CPU. It gives the signals
// that plain Go gives, for many requests at once.
func TestGraphServesTwoTower(t *testing.T) {
	n, dir := twoTowerModel(t, 1), t.TempDir()
	sessions := onnxtest.Start(t).OpenSessions()
	graph, err := twotower.ExportUserTower(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, signals.UserTowerFile), graph, 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bundle.Bundle{Model: &ranker.Model{Signals: []ranker.Signal{signals.TextSimilarity{}, n}}}
	log := slog.New(slog.DiscardHandler)
	if err := moveTower(t.Context(), onnxtest.Start(t), "cpu", dir, b, log); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Model.Signals[1].(*signals.RemoteUserTower); !ok {
		t.Fatalf("the signal is a %T, want a RemoteUserTower", b.Model.Signals[1])
	}
	var callers sync.WaitGroup
	for caller := range 32 {
		callers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(caller), 1))
			for range 20 {
				in := &ranker.SignalInput{Request: &ranker.Request{}, State: &ranker.RequestState{}}
				for range 1 + r.IntN(20) {
					in.State.Recent = append(in.State.Recent,
						ranker.Interaction{Item: fmt.Sprint("i", r.IntN(50))})
					in.RecentVectors = append(in.RecentVectors, nil)
				}
				for i := range 10 {
					in.Request.Candidates = append(in.Request.Candidates,
						ranker.Candidate{ID: fmt.Sprint("i", i)})
					in.ItemVectors = append(in.ItemVectors, nil)
					in.State.Items = append(in.State.Items, nil)
				}
				want, got := make([]float32, 20), make([]float32, 20)
				if err := n.Compute(t.Context(), in, want); err != nil {
					t.Error(err)
				}
				if err := b.Model.Signals[1].Compute(t.Context(), in, got); err != nil {
					t.Error(err)
				}
				for i := 0; i < 20; i += 2 {
					if math.Abs(float64(want[i]-got[i])) > 1e-4 {
						t.Errorf("the graph gives %v, Go gives %v", got[i], want[i])
					}
				}
			}
		})
	}
	callers.Wait()
	if open := onnxtest.Start(t).OpenSessions(); open != sessions+1 {
		t.Errorf("%d sessions are open while the bundle is, want %d", open, sessions+1)
	}
	b.Close()
	if open := onnxtest.Start(t).OpenSessions(); open != sessions {
		t.Errorf("%d sessions are open after the bundle was closed, want %d", open, sessions)
	}
}

// TestGraphRefused loads files that are no graph, the graph of a model of another shape, and the
// graph of a model with other weights. They are refused in the child process and in the server. The
// error names the file. On a CPU no tower is moved.
func TestGraphRefused(t *testing.T) {
	other, err := twotower.ExportUserTower(twoTowerModel(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	wide, err := signals.NewTwoTower(signals.TwoTowerWeights{
		Layers: 0, Dim: 4, Heads: 1, HistoryLength: 3, Items: ranker.NewItemTable([]string{"a"}),
		Vectors: make([]float32, 4), Bias: make([]float32, 1), Gain: make([]float32, 4),
		PoolKey: make([]float32, 4), Recency: make([]float32, 3),
	})
	if err != nil {
		t.Fatal(err)
	}
	rt, sessions := onnxtest.Start(t), onnxtest.Start(t).OpenSessions()
	for _, c := range []struct {
		name  string
		graph []byte
		model *signals.TwoTower
	}{
		{"no graph", []byte("x"), wide},
		{"another shape", other, wide},
		{"other weights", other, twoTowerModel(t, 2)},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, signals.UserTowerFile)
		if err := os.WriteFile(path, c.graph, 0o600); err != nil {
			t.Fatal(err)
		}
		b := &bundle.Bundle{Model: &ranker.Model{Signals: []ranker.Signal{c.model}}}
		for _, err := range []error{
			verifyTower(t.Context(), rt, dir, b),
			moveTower(t.Context(), rt, "cpu", dir, b, slog.New(slog.DiscardHandler)),
		} {
			if err == nil || !strings.Contains(err.Error(), signals.UserTowerFile) {
				t.Errorf("%s: %v, want an error that names %s", c.name, err, signals.UserTowerFile)
			}
		}
	}
	if open := rt.OpenSessions(); open != sessions {
		t.Errorf("%d sessions are open after refusals, want %d", open, sessions)
	}
	if towerOnDevice(onnxtest.Start(t), "cpu", nil) != nil {
		t.Error("a tower is moved to the CPU")
	}
}
