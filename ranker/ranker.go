// Package ranker is Relish's vocabulary and its ranking pipeline. A user and a list of candidate
// items go in; the list comes out in the order that this user will like best. Start with
// [Pipeline], [Request], [Response], [Signal], [Scorer], [Rule] and [Store].
//
//	pipeline, err := ranker.New(ranker.Options{Features: store, Models: models, Recorder: store})
//	if err != nil { … }
//	request := &ranker.Request{ID: "r1", User: "u1", Candidates: candidates, Record: true}
//	response, err := pipeline.Rank(ctx, request)
//
// Rank answers one request in six steps. The stages of Response.Timings are parts of these steps:
//
//  1. assign draws the arms of the running experiments ([Experiments]) and selects a model.
//  2. gather reads the user and the candidates in one round trip ([StateReader], stage features)
//     and fetches text vectors ([Vectors], stage vectors).
//  3. score compares the user's history with every candidate ([Signal], stage signals), assembles
//     one float32 feature matrix and scores its rows ([Scorer], stage scorer).
//  4. order sorts by score and applies the rules ([Rule], stage rules). If two arms are
//     interleaved, the second one is scored and ordered too, and the two lists are merged.
//  5. explain says why the first items have their scores ([Explanation], stage explain).
//  6. record hands the impression to the event log ([Recorder]), from which training learns.
//
// Features, vectors, signals, scorer and explanation have a slice of the request's deadline and a
// fallback. A rule that fails is skipped, and recording never blocks. Response.Degraded names what
// was left out.
//
// The interfaces between packages and the types that they exchange are in these files, to be read
// in this order:
//
//   - request.go: a request and its answer
//   - item.go and value.go: items, and the values of their fields
//   - state.go: what is known of a user and the candidates; readers of state and vectors
//   - model.go: signals, feature matrix, scorer and models; schema.go has a model's features
//   - rule.go: rules that change the order of a scored list
//   - arms.go: arms of experiments
//   - event.go: events and impressions
//   - store.go: the contract of a store
//
// The pipeline begins in pipeline.go. Package internal/app wires everything. This package imports
// no HTTP, Redis, ONNX Runtime or Arrow library.
package ranker

import "errors"

// Errors that a caller can act on. They are wrapped with the details.
var (
	// ErrUnknownModel says that no model of the requested name is loaded.
	ErrUnknownModel = errors.New("unknown model")
	// ErrModelRefused says that the model exists but must not be served.
	ErrModelRefused = errors.New("the bundle is refused")
	// ErrNoPreviousModel says that there is no model to roll back to.
	ErrNoPreviousModel = errors.New("no model was active before this one")
	// ErrIncompleteMatrix says that a feature matrix lacks inputs, so no model may be trained on
	// it.
	ErrIncompleteMatrix = errors.New("the feature matrix is incomplete")
	// ErrLogFull says that the event log has reached its size limit or that the disk is full.
	// Nothing was written (HTTP 507).
	ErrLogFull = errors.New("event log is full")
	// ErrLogUnavailable says that the event log cannot take events now. Nothing was acknowledged;
	// the caller may try again later (HTTP 503).
	ErrLogUnavailable = errors.New("event log is unavailable")
)
