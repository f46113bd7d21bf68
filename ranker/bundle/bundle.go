// Package bundle keeps trained models: folders that are written whole, loaded only if every byte is as it was
// written, tried out where they can hurt nobody, and swapped in without losing a request.
//
// A bundle is a folder named by its version, <time>-<digest>, and never changes. It holds
//
//	manifest.json   what it is: format version, files with sizes and SHA-256, where it comes from (Manifest)
//	features.yaml   the feature schema
//	probe.bin       a few recorded rankings with the scores that this bundle gives them (ProbeCase)
//	the blend's file, the matchers' files, and report.html for people
//	a text encoder, where the bundle was trained with one of its own (EncoderFiles)
//
// The digest in the version is the manifest's own, and the manifest holds the digests of all other files: who
// names a version names every bit of it. There is no signature. Whoever can write the folder of bundles decides what
// is served, so it needs the same care as the binary.
//
// The folder of bundles, which replicas share, holds besides them
//
//	active          the version that is to be served; renamed into place, and watched by servers (Registry)
//	activations     who activated what, when and why, the last 1,000 times, one JSON object a line
//	.lock           held while something is written
package bundle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"

	"relish/ranker"
)

// Files that every bundle has, and the one that people read.
const (
	ManifestFile = "manifest.json"
	SchemaFile   = "features.yaml"
	ProbeFile    = "probe.bin"
	ReportFile   = "report.html"
)

// SignalOpener makes a matcher of a kind from its file's bytes, which it may keep; nil for a kind without a file. A
// matcher that holds what the garbage collector does not free lets go of it by runtime.AddCleanup: a bundle that was
// swapped out lives until its last request is answered.
type SignalOpener func(kind string, file []byte) (ranker.Signal, error)

// Bundle is a loaded bundle. It is immutable and safe for concurrent use.
type Bundle struct {
	Manifest *Manifest
	Model    *ranker.Model // its Version is the bundle's

	probe []ProbeCase
}

// versionPattern is what Write names bundles: UTC time to the millisecond and 48 bits of the manifest's digest.
var versionPattern = regexp.MustCompile(`^\d{8}T\d{9}Z-[0-9a-f]{12}$`)

// IsVersion reports whether s has the form of a bundle's version. It is a safe file name then.
func IsVersion(s string) bool { return versionPattern.MatchString(s) }

// CheckCompatible reports why a server cannot serve the bundle: it was trained on vectors of another encoder than encoder (a
// digest; "" = without text, which every bundle can do without) and does not bring it along, or check, which may be
// nil, has something against its schema.
func (b *Bundle) CheckCompatible(encoder string, check func(*ranker.Schema) error) error {
	if e := b.Manifest.Encoder; !e.FineTuned && e.Digest != "" && encoder != "" && e.Digest != encoder {
		return fmt.Errorf("it was trained with the encoder %s (digest %.12s), this process uses another one (digest %.12s): choose the same with --encoder, or train anew", e.ID, e.Digest, encoder)
	}
	if check == nil {
		return nil
	}
	return check(b.Model.Schema)
}

// tolerance is how far a score or a sum may be from what is expected, relative to the larger of it and 1. Scores
// are float64 sums of float32 features; another processor's vector instructions may round differently.
const tolerance = 1e-5

// Probe ranks the recorded cases and compares the scores, and what explains them, with the expected ones.
// A bundle that nobody vouches for may do anything here: see Try.
func (b *Bundle) Probe(ctx context.Context) error {
	for i, c := range b.probe {
		if err := b.runCase(ctx, &c); err != nil {
			return fmt.Errorf("probe %d: %w", i, err)
		}
	}
	return nil
}

func (b *Bundle) runCase(ctx context.Context, c *ProbeCase) error {
	m, scores, err := scoreInput(ctx, b.Model, &c.Input)
	if err != nil {
		return err
	}
	for k, want := range c.Scores {
		if !withinTolerance(scores[k], want) {
			return fmt.Errorf("candidate %d has the score %g, expected was %g", k, scores[k], want)
		}
	}
	parts := make([]float64, len(m.Columns))
	sum, err := b.Model.Scorer.Explain(m, 0, parts)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	for _, x := range parts {
		sum += x
	}
	if !withinTolerance(sum, scores[0]) {
		return fmt.Errorf("the explanation adds up to %g, the score is %g", sum, scores[0])
	}
	return nil
}

func withinTolerance(got, want float64) bool {
	return math.Abs(got-want) <= tolerance*max(1, math.Abs(want)) // false for NaN
}

// scoreInput is what the pipeline makes of the input, where nothing may be missing or late. It leaves in as it is.
func scoreInput(ctx context.Context, m *ranker.Model, in *ranker.SignalInput) (*ranker.Matrix, []float64, error) {
	n := len(in.Request.Candidates)
	if want := n * len(m.Schema.Columns()); len(in.State.Columns) != want {
		return nil, nil, fmt.Errorf("%d candidates have %d feature cells, the schema makes %d", n, len(in.State.Columns), want)
	}
	state := *in.State
	state.Columns = append([]float32(nil), in.State.Columns...) // Assemble takes them over
	blocks := make([][]float32, len(m.Signals))
	for k, matcher := range m.Signals {
		blocks[k] = make([]float32, n*len(matcher.Columns()))
		if err := matcher.Compute(ctx, in, blocks[k]); err != nil {
			return nil, nil, fmt.Errorf("matcher %v: %w", matcher.Columns(), err)
		}
	}
	matrix := ranker.Assemble(m.Schema, in.Request, &state, m.Signals, blocks)
	scores := make([]float64, n)
	if err := m.Scorer.Score(matrix, scores); err != nil {
		return nil, nil, err
	}
	for _, x := range scores {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, nil, errors.New("a score is not finite")
		}
	}
	return matrix, scores, nil
}
