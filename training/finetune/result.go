package finetune

import (
	"context"
	"fmt"
	"time"

	"github.com/viterin/vek/vek32"

	"relish/embeddings/onnx"
	"relish/internal/stats"
)

// finish exports the kept weights as files and measures both files as they are served.
func (t *trainer) finish(ctx context.Context) (*Result, error) {
	res := &Result{
		Evaluations: t.evaluations,
		KeptStep:    t.keptStep,
		TimeLimited: t.timeLimited,
		Pairs:       t.corpus.countPairs(),
		Texts:       len(t.corpus.tokens),
	}
	model, err := t.net.exportFile(t.keptWeights)
	if err != nil {
		return nil, err
	}
	int8Model, err := model.Quantize()
	if err != nil {
		return nil, err
	}
	with := func(model []byte) *onnx.EncoderFiles {
		f := *t.in.Files
		f.Model = model
		return &f
	}
	res.FP32, res.Int8 = with(model.Bytes()), with(int8Model)
	return res, t.measure(ctx, res)
}

// measure compares the pretrained encoder, the fine-tuned encoder, and its 8-bit form.
func (t *trainer) measure(ctx context.Context, res *Result) error {
	texts := textsOf(t.validator.finalCases)
	var ndcg [3][]float64
	var vectors [3][][]float32
	var speed [3]float64
	for i, f := range []*onnx.EncoderFiles{t.in.Files, res.FP32, res.Int8} {
		start := time.Now()
		var err error
		if vectors[i], err = t.encodeServed(ctx, f, texts); err != nil {
			return err
		}
		speed[i] = float64(len(texts)) / time.Since(start).Seconds()
		ndcg[i], err = scoreCases(ctx, t.validator.finalCases,
			func(context.Context, []int32) ([][]float32, error) { return vectors[i], nil }, t.cfg)
		if err != nil {
			return err
		}
	}
	g, q := &res.Validation, &res.Quantization
	g.Cases = len(t.validator.finalCases)
	q.MinCosine = 1
	q.Bytes, q.BytesFP32 = int64(len(res.Int8.Model)), int64(len(res.FP32.Model))
	q.TextsPerSecond, q.TextsPerSecondFP32 = speed[2], speed[1]
	for i := range texts {
		c := float64(vek32.Dot(vectors[1][i], vectors[2][i]))
		q.MinCosine = min(q.MinCosine, c)
		q.MeanCosine += c / float64(len(texts))
	}
	return t.computeIntervals(ndcg, g, q)
}

func (t *trainer) computeIntervals(ndcg [3][]float64, g *Validation, q *Quantization) (err error) {
	for _, x := range []struct {
		into *stats.Interval
		a, b []float64
	}{{&g.Base, ndcg[0], nil}, {&g.FineTuned, ndcg[1], nil}, {&g.Difference, ndcg[1], ndcg[0]},
		{&g.Int8, ndcg[2], ndcg[0]}, {&q.Difference, ndcg[2], ndcg[1]}} {
		if x.b == nil {
			*x.into, err = stats.Bootstrap(x.a, t.cfg.Seed)
		} else {
			*x.into, err = stats.PairedBootstrap(x.a, x.b, t.cfg.Seed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// encodeServed encodes texts as a server on a CPU does, on one thread.
func (t *trainer) encodeServed(
	ctx context.Context, f *onnx.EncoderFiles, texts []int32,
) ([][]float32, error) {
	enc, err := t.in.Runtime.NewEncoder(ctx, f, onnx.EncoderOptions{Device: "cpu", Sessions: 1})
	if err != nil {
		return nil, fmt.Errorf("finetune: cannot load the encoder: %w", err)
	}
	defer enc.Close()
	ids := make([][]int32, len(texts))
	for i, text := range texts {
		ids[i] = t.corpus.tokenIDs(text)
	}
	vectors, err := enc.Encode(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("finetune: %w", err)
	}
	return vectors, nil
}

// tokenIDs returns the tokens of a text as ids of the encoder's vocabulary.
func (c *corpus) tokenIDs(text int32) []int32 {
	out := make([]int32, len(c.tokens[text]))
	for k, token := range c.tokens[text] {
		out[k] = c.vocab[token]
	}
	return out
}
