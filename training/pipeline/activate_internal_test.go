package pipeline

import (
	"context"
	"errors"
	"testing"

	"relish/ranker/bundle"
	"relish/training/modelcard"
)

// A training that ended while its bundle was verified activates nothing.
func TestEndedTrainingActivatesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	run := &run{opt: &Options{
		Root:   t.TempDir(),
		Verify: func(context.Context, string) error { cancel(); return nil },
	}}
	const version = "20260101T000000000Z-000000000000"
	r := &results{tuning: &tuning{}, gate: &modelcard.Gate{Activated: true}}
	out, err := activate(ctx, run, r, &written{version: version})
	if !errors.Is(err, context.Canceled) || out.Activated {
		t.Errorf("activate returned %+v, %v", out, err)
	}
	if active, err := bundle.Active(run.opt.Root); err != nil || active == version {
		t.Errorf("active is %q, %v", active, err)
	}
}
