package simulation_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"relish/experiment/simulation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := simulation.AA(ctx, 50, 1, simulation.Traffic{Users: 2000, Days: 10})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's error", err)
	}
}

func check(t *testing.T, counts []simulation.Count, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		t.Logf("%-60s %5d of %d = %.4f [%.4f, %.4f]", c.What, c.N, c.Runs, c.Rate, c.Low, c.High)
		if !c.OK {
			t.Errorf("%s: %.4f, must be in [%.4f, %.4f]", c.What, c.Rate, c.Low, c.High)
		}
	}
}

func TestAA(t *testing.T) {
	traffic := simulation.Traffic{Users: 400, Days: 10, Past: 3}
	counts, err := simulation.AA(context.Background(), 200, 1, traffic)
	check(t, counts, err)
}

func TestAB(t *testing.T) {
	traffic := simulation.Traffic{Users: 700, Days: 10, Past: 5, Lift: 0.12}
	counts, err := simulation.AB(context.Background(), 150, 1, traffic)
	check(t, counts, err)
}

// By plan, interleaving needs less than a twentieth of the users of A/B. In simulation too, it
// finds the better model more often with a twentieth of the users.
func TestInterleaving(t *testing.T) {
	trial := simulation.NewInterleavingTrial(1, 1, 0.7)
	c, err := trial.Compare(context.Background(), 3000)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
	if c.Ratio < 20 {
		t.Errorf("interleaving needs 1/%.1f of the users, want at most 1/20", c.Ratio)
	}
	ab, mixed, err := trial.Power(context.Background(), 20, 20*int(c.Interleave), int(c.Interleave))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v\n%+v", ab, mixed)
	if mixed.Rate < 0.5 || mixed.N <= ab.N {
		t.Errorf("found %d times by interleaving, %d times by A/B with 20 times the users",
			mixed.N, ab.N)
	}
}
