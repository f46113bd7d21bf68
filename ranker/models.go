package ranker

import (
	"errors"
	"time"

	"relish/internal/stats"
)

// PriorVersion is the version of the prior, the model that needs no training and is always there.
const PriorVersion = "prior"

// Errors of choosing a model, beside ErrUnknownModel.
var (
	// ErrModelRefused: the model is there and must not be served; the error it is wrapped with says why.
	ErrModelRefused = errors.New("the bundle is refused")
	// ErrNoPreviousModel: there is nothing to roll back to.
	ErrNoPreviousModel = errors.New("no model was active before this one")
)

// States of a model.
const (
	ModelActive    = "active"    // what requests get that name none
	ModelPrevious  = "previous"  // loaded: the active one's first stand-in
	ModelLoaded    = "loaded"    // loaded: an experiment's, or the prior
	ModelWaiting   = "waiting"   // loaded; Reason says what it waits for before it is used
	ModelAvailable = "available" // on disk
	ModelRefused   = "refused"   // on disk; Reason says why it must not be served
)

// ModelStatus is what a person wants to know of a model.
type ModelStatus struct {
	Version string
	State   string
	Reason  string // of a refusal
	Created time.Time
	Parent  string // the version it was trained on from, "" without one
	Forced  string // why it may be active although the gate refused it, "" where the gate did not
	Metrics map[string]stats.Interval
}
