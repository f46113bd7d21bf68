// Package classifier trains text classifiers from examples: texts with a label each.
//
// Train learns a logistic regression over the vectors and the words of the texts. Cross-validation
// chooses its penalty, how much words count beside vectors, whether the names of the labels count
// as examples, and whether all labels weigh the same. Each example is predicted by a model that has
// not seen it. These predictions give the metrics, the temperature that calibrates the
// probabilities, and the examples that the classifier is unsure of. The classifier itself is then
// trained on all examples.
//
// Package embeddings/classifier serves the result.
package classifier

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	served "relish/embeddings/classifier"
	"relish/ranker/bundle"
)

// Input is what Train learns from.
type Input struct {
	Name     string
	Examples []Example
	// Encode returns the unit vectors of texts by the encoder that will serve, nil for a text
	// without a token. Required.
	Encode  func(ctx context.Context, texts []string) ([][]float32, error)
	Encoder bundle.Encoder // whose vectors these are
	// Pool are texts without a label, such as those of the catalogue. All of them are encoded. The
	// card names those that are most worth labelling. Without any, it names the examples that the
	// classifier is unsure of.
	Pool     []string
	Revision string // source code revision, for the manifest
	// Progress is called with the stage of the training and how far that stage is; nil: nobody is
	// told.
	Progress func(stage string, done, total int)
}

// Result is a trained classifier.
type Result struct {
	Manifest    served.Manifest
	Head        *served.Head
	ProbeVector []float32 // of served.ProbeText
	Files       map[string][]byte
	Metrics     Metrics // cross-validated
	// Baseline are the metrics of always answering the most frequent label.
	Baseline Metrics
	Warnings []string
}

// Train trains a classifier. Its errors wrap ErrExamples if the examples cannot be used. The same
// input gives the same classifier on the same machine.
func Train(ctx context.Context, in Input) (*Result, error) {
	if in.Progress == nil {
		in.Progress = func(string, int, int) {}
	}
	t := &trainer{in: &in}
	t.examples, t.labels = unique(in.Examples)
	if err := checkExamples(t.examples, t.labels); err != nil {
		return nil, err
	}
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	s, p, err := search(ctx, t.data, func(done, total int) {
		in.Progress("choose settings", done, total)
	})
	if err != nil {
		return nil, err
	}
	all := make([]int, len(t.examples))
	for i := range all {
		all[i] = i
	}
	in.Progress("train on all examples", 0, 0)
	w, err := fit(ctx, t.data, all, s, nil)
	if err != nil {
		return nil, err
	}
	temperature := p.temperature()
	h := head(t.labels, t.data, t.vocabulary, s, w, temperature)
	return t.result(ctx, h, s, p)
}

// trainer is one run of Train.
type trainer struct {
	in         *Input
	examples   []Example
	labels     []string
	data       *data
	vocabulary *vocabulary
	probe      []float32
}

// encodeBatch is how many texts are encoded between two reports of progress.
const encodeBatch = 256

// encode encodes texts in batches.
func (t *trainer) encode(ctx context.Context, stage string, texts []string) ([][]float32, error) {
	var out [][]float32
	for part := range slices.Chunk(texts, encodeBatch) {
		t.in.Progress(stage, len(out), len(texts))
		vectors, err := t.in.Encode(ctx, part)
		if err != nil {
			return nil, fmt.Errorf("encoding the texts: %w", err)
		}
		out = append(out, vectors...)
	}
	return out, nil
}

// prepare turns the examples into numbers.
func (t *trainer) prepare(ctx context.Context) error {
	n := len(t.examples)
	texts := make([]string, n, n+len(t.labels)+1)
	for i, e := range t.examples {
		texts[i] = e.Text
	}
	t.vocabulary = newVocabulary(texts, len(t.labels))
	for _, label := range t.labels {
		texts = append(texts, nameText(label))
	}
	vectors, err := t.encode(ctx, "encode examples", append(texts, served.ProbeText))
	if err != nil {
		return err
	}
	t.probe = vectors[len(texts)]
	d := &data{labels: len(t.labels), dim: len(t.probe), buckets: t.vocabulary.size}
	for i, text := range texts {
		words := t.vocabulary.features(text)
		if i < n {
			d.add(vectors[i], words, slices.Index(t.labels, t.examples[i].Label))
		} else {
			d.addName(vectors[i], words, i-n)
		}
	}
	d.centerVectors()
	t.data = d
	return nil
}

// result measures the classifier and writes its card.
func (t *trainer) result(
	ctx context.Context, h *served.Head, s settings, p *predictions,
) (*Result, error) {
	r := &Result{Head: h, ProbeVector: t.probe, Metrics: p.measure()}
	r.Baseline = p.frequentLabel().metrics()
	r.Manifest = served.Manifest{
		Name: t.in.Name, Method: s.String(), Encoder: t.in.Encoder, Revision: t.in.Revision,
		Examples: countLabels(t.examples),
		Metrics: map[string]float64{
			"accuracy": r.Metrics.Accuracy, "macro_f1": r.Metrics.MacroF1,
			"n":        float64(r.Metrics.N),
			"log_loss": p.logLoss(h.Temperature), "temperature": h.Temperature,
			"calibration_error": p.calibrationError(h.Temperature),
		},
	}
	if rare := rareLabels(t.examples, t.labels, reliableExamples); rare != "" {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s: with fewer than %d examples of a label, "+
			"the figures are rough", rare, reliableExamples))
	}
	worth, err := t.worthLabelling(ctx, h, p)
	if err != nil {
		return nil, err
	}
	var card bytes.Buffer
	if err := writeCard(&card, t.card(r, p, worth)); err != nil {
		return nil, err
	}
	r.Files = map[string][]byte{served.CardFile: card.Bytes()}
	return r, nil
}

// frequentLabel returns the confusion matrix of always answering the most frequent label.
func (p *predictions) frequentLabel() *matrix {
	counts := make([]int, p.labels)
	for _, l := range p.truth {
		counts[l]++
	}
	most := slices.Index(counts, slices.Max(counts))
	m := newMatrix(p.labels)
	for _, l := range p.truth {
		m.add(l, most)
	}
	return m
}

// BetterThanBaseline reports whether the classifier knows more than which label is most frequent.
func (r *Result) BetterThanBaseline() bool {
	return r.Metrics.MacroF1 > r.Baseline.MacroF1 && r.Metrics.Accuracy >= r.Baseline.Accuracy
}
