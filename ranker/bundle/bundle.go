// Package bundle stores trained models. A bundle is a folder that is written completely or not at
// all, loaded only if every byte is as it was written, tried in a child process before it is used,
// and swapped in without losing a request.
//
// A bundle is named by its version, <time>-<digest>, and never changes. It holds
//
//	manifest.json   format version, files with sizes and SHA-256, origin of the model (Manifest)
//	features.yaml   the feature schema
//	probe.bin       a few recorded rankings with the scores that this bundle gives (ProbeCase)
//	report.html     the model card, for people
//	gbdt.txt        or another file of the scorer, and one file for each learned signal
//	encoder*        a fine-tuned text encoder, if the bundle was trained with one (EncoderFiles)
//	vectors-*.rvt   that encoder's vectors of the catalogue's texts at the training (VectorsExt)
//
// The digest in the version is that of the manifest, and the manifest holds the digests of all
// other files. A version therefore names every bit of a bundle. A bundle may also have a signature
// (Sign). Without one, whoever can write the folder of bundles decides what is served, so that
// folder needs the same care as the binary.
//
// Replicas share the folder of bundles. Besides the bundles it holds
//
//	active          the version to serve; renamed into place, and watched by servers (Registry)
//	activations     the last 1,000 activations: time, version, by, reason; one JSON object a line
//	.lock           held while something is written
//
// A server uses a Registry. It loads what is active, follows the folder, and lends models to
// requests: a request acquires a model and releases it, and a model that was swapped out is closed
// after its last request.
package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"

	"relish/internal/terms"
	"relish/ranker"
)

// Files that every bundle has, and the model card.
const (
	ManifestFile = "manifest.json"
	SchemaFile   = "features.yaml"
	ProbeFile    = "probe.bin"
	ReportFile   = "report.html"
)

// SignalLoader makes a signal of a kind from the bytes of its file, which it may keep. file is nil
// for a kind without a file.
type SignalLoader func(kind string, file []byte) (ranker.Signal, error)

// Bundle is a loaded bundle. Once it serves requests it is immutable and safe for concurrent use.
type Bundle struct {
	Manifest *Manifest
	Model    *ranker.Model // Model.Version is the bundle's version

	digest [sha256.Size]byte // of the manifest's file
	probe  []ProbeCase
	// encoder is of the fine-tuned encoder. It is nil if the bundle has none or it is not used.
	encoder EncoderVectors
	closers []func()
}

// OnClose has Close call f. It is for what the model uses and the garbage collector cannot free,
// such as native sessions. It must be called before the bundle serves requests.
func (b *Bundle) OnClose(f func()) { b.closers = append(b.closers, f) }

// Close calls the functions given to OnClose, last one first. Nobody else may use the bundle then.
func (b *Bundle) Close() {
	for _, f := range slices.Backward(b.closers) {
		f()
	}
	b.closers = nil
}

// versionPattern matches the names that Write gives: UTC time to the millisecond, and the first 48
// bits of the manifest's digest.
var versionPattern = regexp.MustCompile(`^\d{8}T\d{9}Z-[0-9a-f]{12}$`)

// IsVersion reports whether s has the form of a bundle version. Such a string is a safe file name.
func IsVersion(s string) bool { return versionPattern.MatchString(s) }

// CheckCompatible returns why a server cannot serve the bundle, nil if it can.
//
// encoderDigest is the digest of the server's text encoder, "" for a server without text. A bundle
// that was trained on vectors of another encoder, and contains none, cannot be served. A server
// without text can serve every bundle. checkSchema, which may be nil, checks the feature schema.
func (b *Bundle) CheckCompatible(
	encoderDigest string,
	checkSchema func(*ranker.Schema) error,
) error {
	e := b.Manifest.Encoder
	if !e.FineTuned && e.Digest != "" && encoderDigest != "" && e.Digest != encoderDigest {
		return fmt.Errorf("the bundle was trained with the encoder %s (digest %.12s), this "+
			"process uses digest %.12s: choose that encoder with --encoder, or train again",
			e.ID, e.Digest, encoderDigest)
	}
	if checkSchema == nil {
		return nil
	}
	return checkSchema(b.Model.Schema)
}

// tolerance is the largest accepted difference of a score or a sum from the expected value,
// relative to the larger of that value and 1. Scores are float64 sums of float32 features; vector
// instructions of another processor may round differently.
const tolerance = 1e-5

// Probe ranks the recorded cases and checks that scores and explanations are as recorded. It leaves
// out cases with texts that have other terms now than in the version that recorded them. A bundle
// from an untrusted source may do anything here: see ProbeInSandbox.
func (b *Bundle) Probe(ctx context.Context) error {
	for i := range b.probe {
		if b.Manifest.Terms < terms.Version && hasOtherTerms(&b.probe[i].Input) {
			continue
		}
		if err := b.runCase(ctx, &b.probe[i]); err != nil {
			return fmt.Errorf("probe %d: %w", i, err)
		}
	}
	return nil
}

// hasOtherTerms reports whether an item or the search text had other terms in version 0.
func hasOtherTerms(in *ranker.SignalInput) bool {
	changed := func(it *ranker.ItemInfo) bool {
		return it != nil && (!terms.IsAsBefore(it.Title()) ||
			slices.ContainsFunc(it.Tags(), func(s string) bool { return !terms.IsAsBefore(s) }))
	}
	return changed(in.Query) || slices.ContainsFunc(in.State.Items, changed) ||
		slices.ContainsFunc(in.State.RecentItems, changed)
}

func (b *Bundle) runCase(ctx context.Context, c *ProbeCase) error {
	matrix, scores, err := scoreInput(ctx, b.Model, &c.Input)
	if err != nil {
		return err
	}
	for k, want := range c.Scores {
		if !withinTolerance(scores[k], want) {
			return fmt.Errorf("candidate %d has the score %g, recorded was %g", k, scores[k], want)
		}
	}
	contributions := make([]float64, len(matrix.Columns))
	sum, err := b.Model.Scorer.Explain(matrix, 0, contributions)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	for _, x := range contributions {
		sum += x
	}
	if !withinTolerance(sum, scores[0]) {
		return fmt.Errorf("the contributions of the explanation add up to %g, the score is %g",
			sum, scores[0])
	}
	return nil
}

func withinTolerance(got, want float64) bool {
	return math.Abs(got-want) <= tolerance*max(1, math.Abs(want)) // false for NaN
}

// scoreInput returns the matrix and the scores that the pipeline would compute for the input if
// nothing was missing or late. It does not change the input.
func scoreInput(
	ctx context.Context, m *ranker.Model, in *ranker.SignalInput,
) (*ranker.Matrix, []float64, error) {
	n := len(in.Request.Candidates)
	if want := n * len(m.Schema.Columns()); len(in.State.Columns) != want {
		return nil, nil, fmt.Errorf("%d candidates have %d feature cells, the schema needs %d",
			n, len(in.State.Columns), want)
	}
	state := *in.State
	state.Columns = slices.Clone(in.State.Columns) // Assemble takes ownership
	blocks := make([][]float32, len(m.Signals))
	for k, signal := range m.Signals {
		blocks[k] = make([]float32, n*len(signal.Columns()))
		if err := signal.Compute(ctx, in, blocks[k]); err != nil {
			return nil, nil, fmt.Errorf("signal %v: %w", signal.Columns(), err)
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
