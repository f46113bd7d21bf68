package finetune_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/viterin/vek/vek32"

	"relish/embeddings/onnx"
	"relish/embeddings/onnxfile"
	"relish/embeddings/tokenizer"
	"relish/internal/onnxtest"
	"relish/ranker"
	"relish/training/finetune"
	"relish/training/signals"
)

// topics are pairs of word lists. Users of one topic take items of both lists, which share no
// words.
var topics = [][2][]string{
	{{"violin", "cello", "trumpet"}, {"tent", "backpack", "lantern"}},
	{{"pepper", "saffron", "basil"}, {"saddle", "stirrup", "bridle"}},
	{{"hammer", "chisel", "drill"}, {"poem", "sonnet", "novel"}},
	{{"orbit", "comet", "nebula"}, {"skillet", "ladle", "whisk"}},
	{{"glacier", "fjord", "tundra"}, {"ledger", "invoice", "audit"}},
	{{"terrier", "spaniel", "poodle"}, {"modem", "router", "switch"}},
}

// planted returns a corpus in which each user takes the items of one topic.
func planted(users int) *signals.Corpus {
	r := rand.New(rand.NewPCG(7, 7))
	c := &signals.Corpus{}
	var ids []string
	itemsOf := make([][]int32, len(topics))
	for k, halves := range topics {
		for i := range 60 {
			half := halves[i%2]
			title := fmt.Sprintf("%s %s %d", half[r.IntN(3)], half[r.IntN(3)], r.IntN(900)+100)
			itemsOf[k] = append(itemsOf[k], int32(len(ids)))
			it := ranker.Item{
				ID:    strconv.Itoa(len(ids)),
				Title: title,
				Text:  halves[1-i%2][r.IntN(3)] + " " + strconv.Itoa(i),
			}
			ids = append(ids, it.ID)
			c.ItemInfos = append(c.ItemInfos, ranker.NewItemInfo(it, ranker.TextSpec{"title"}))
		}
	}
	c.Items = ranker.NewItemTable(ids)
	for range users {
		items := itemsOf[r.IntN(len(itemsOf))]
		var u signals.UserHistory
		for range 3 + r.IntN(5) {
			u.Interactions = append(u.Interactions,
				signals.Interaction{Item: items[r.IntN(len(items))], Gain: 1})
		}
		c.Users = append(c.Users, u)
	}
	return c
}

// quick is a configuration that trains within seconds.
func quick() finetune.Config {
	cfg := finetune.DefaultConfig()
	cfg.BatchTokens, cfg.MaxSteps, cfg.EvalEvery, cfg.TimeLimit = 256, 30, 15, 0
	cfg.LearningRate, cfg.WarmUpSteps, cfg.EMADecay, cfg.HoldoutShare = 2e-4, 5, 0.9, 0.2
	return cfg
}

func tune(t testing.TB, threads int, c *signals.Corpus, cfg finetune.Config) *finetune.Result {
	t.Helper()
	in := finetune.Input{
		Runtime: onnxtest.Start(t),
		Backend: onnxtest.Backend(t, threads),
		Files:   onnxtest.EncoderFiles(t, "fp32"),
		Corpus:  c,
	}
	res, err := finetune.Train(t.Context(), in, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func sameEvaluation(a, b finetune.Evaluation) bool { return a.Step == b.Step && a.NDCG == b.NDCG }

// Training moves texts together that the same users take, including held-out texts. The 8-bit file
// gives nearly the same vectors.
func TestTrain(t *testing.T) {
	var points []finetune.Evaluation
	cfg := quick()
	cfg.Progress = func(p finetune.Evaluation) { points = append(points, p) }
	res := tune(t, 0, planted(300), cfg)
	if !res.Validation.Better() || res.Validation.Difference.Mean < 0.1 {
		t.Errorf("the fine-tuned encoder is not better: %+v", res.Validation)
	}
	if len(res.Evaluations) != 3 ||
		!slices.EqualFunc(points, res.Evaluations, sameEvaluation) {
		t.Errorf("the result has the evaluations %v, Progress got %v", res.Evaluations, points)
	}
	if res.Pairs < 500 || res.Texts < 300 || res.KeptStep == 0 {
		t.Errorf("trained on %d pairs and %d texts, kept step %d",
			res.Pairs, res.Texts, res.KeptStep)
	}
	similarity := func(f *onnx.EncoderFiles) float32 {
		v := onnxtest.EncodeTexts(t, f, "violin", "lantern")
		return vek32.Dot(v[0], v[1])
	}
	before, after := similarity(onnxtest.EncoderFiles(t, "fp32")), similarity(res.FP32)
	if after < before+0.1 {
		t.Errorf("the cosine of violin and lantern (same users) is %.3f; before training %.3f",
			after, before)
	}
	q := res.Quantization
	if q.MinCosine < 0.95 || q.MeanCosine < 0.98 || q.Difference.Low < -0.1 ||
		q.Bytes*3 > q.BytesFP32 || q.TextsPerSecond <= 0 || q.TextsPerSecondFP32 <= 0 {
		t.Errorf("the 8-bit encoder: %+v", q)
	}
	if res.Int8.Digest() == res.FP32.Digest() ||
		res.FP32.Digest() == onnxtest.EncoderFiles(t, "fp32").Digest() {
		t.Error("two different encoders have the same digest")
	}
}

// On one thread, the same seed gives the same weights.
func TestSameSeedSameWeights(t *testing.T) {
	cfg := quick()
	cfg.MaxSteps, cfg.EvalEvery = 4, 2
	a, b := tune(t, 1, planted(200), cfg), tune(t, 1, planted(200), cfg)
	if a.FP32.Digest() != b.FP32.Digest() || a.Evaluations[1].Loss != b.Evaluations[1].Loss ||
		a.Evaluations[2].Loss != b.Evaluations[2].Loss {
		t.Error("two runs with the same seed differ")
	}
}

// changed lists the weights that differ from those of the pretrained encoder.
func changed(t *testing.T, f *onnx.EncoderFiles) (names []string) {
	t.Helper()
	before, err := onnxfile.Parse(onnxtest.EncoderFiles(t, "fp32").Model)
	if err != nil {
		t.Fatal(err)
	}
	after, err := onnxfile.Parse(f.Model)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range before.WeightNames() {
		a, _ := before.Floats(name)
		if b, _ := after.Floats(name); !slices.Equal(a, b) {
			names = append(names, name)
		}
	}
	return names
}

// Training can change some layers only, or learn low-rank updates. All variants start with the NDCG
// of the pretrained encoder.
func TestLayersAndLoRA(t *testing.T) {
	initial := map[string]float64{}
	for _, c := range []struct {
		name         string
		layers, rank int
		check        func(name string) bool // whether the weight may change
	}{
		{"all", 0, 0, func(string) bool { return true }},
		{"top two layers", 2, 0, func(name string) bool {
			return !strings.Contains(name, "embeddings") && !strings.Contains(name, "layer.0.") &&
				!strings.Contains(name, "layer.3.")
		}},
		{"rank 4", 0, 4, func(name string) bool { return strings.Contains(name, "MatMul") }},
		{"rank 4 of the top layer", 1, 4,
			func(name string) bool { return strings.Contains(name, "MatMul") }},
	} {
		cfg := quick()
		cfg.Layers, cfg.LoRARank = c.layers, c.rank
		cfg.MaxSteps, cfg.EvalEvery, cfg.LearningRate = 6, 6, 1e-3
		res := tune(t, 0, planted(200), cfg)
		initial[c.name] = res.Evaluations[0].NDCG
		names := changed(t, res.FP32)
		for _, name := range names {
			if !c.check(name) {
				t.Errorf("%s: %s changed, but should not", c.name, name)
			}
		}
		if res.KeptStep > 0 && len(names) == 0 {
			t.Errorf("%s: no weight changed", c.name)
		}
	}
	for name, ndcg := range initial {
		if d := ndcg - initial["all"]; d > 1e-3 || d < -1e-3 {
			t.Errorf("%s starts with NDCG %v, the whole encoder with %v",
				name, ndcg, initial["all"])
		}
	}
}

// Without users, titles learn to point at the rest of their items' texts.
func TestTitleText(t *testing.T) {
	cfg := quick()
	cfg.Objective = finetune.TitleText
	c := planted(0)
	res := tune(t, 0, c, cfg)
	if !res.Validation.Better() {
		t.Errorf("the fine-tuned encoder is not better: %+v", res.Validation)
	}
}

// questions returns pairs whose question shares no word with the answer.
func questions(n int) (out []finetune.Pair) {
	r := rand.New(rand.NewPCG(8, 8))
	var answers []*ranker.ItemInfo
	for _, halves := range topics {
		answers = append(answers, ranker.NewItemInfo(
			ranker.Item{Title: strings.Join(halves[1], " ")}, ranker.TextSpec{"title"}))
	}
	for i := range n {
		words, others := topics[i%len(topics)][0], slices.Clone(answers)
		question := fmt.Sprintf("%s %s %d", words[r.IntN(3)], words[r.IntN(3)], i)
		out = append(out, finetune.Pair{
			Question: question, Chosen: answers[i%len(topics)],
			Others: slices.Delete(others, i%len(topics), i%len(topics)+1),
		})
	}
	return out
}

// The vectors of questions come near what was chosen for them, also of those that were held out.
func TestPairs(t *testing.T) {
	cfg := quick()
	cfg.Objective = finetune.Pairs
	in := finetune.Input{
		Runtime: onnxtest.Start(t), Backend: onnxtest.Backend(t, 0),
		Files: onnxtest.EncoderFiles(t, "fp32"), Pairs: questions(400),
	}
	res, err := finetune.Train(t.Context(), in, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !res.Validation.Better() || res.Validation.Difference.Mean < 0.1 {
		t.Errorf("the fine-tuned encoder is not better: %+v", res.Validation)
	}
	in.Pairs = in.Pairs[:30]
	if _, err = finetune.Train(t.Context(), in, cfg); !errors.Is(err, finetune.ErrTooLittleData) ||
		!strings.Contains(err.Error(), "pairs of question and answer") {
		t.Errorf("30 pairs give %v", err)
	}
}

// corruptEncoder returns an encoder that gives NaN for texts with the word.
func corruptEncoder(t *testing.T, f *onnx.EncoderFiles, word string) *onnx.EncoderFiles {
	t.Helper()
	tok, err := tokenizer.Load(f.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnxfile.Parse(f.Model)
	if err != nil {
		t.Fatal(err)
	}
	const name = "embeddings.word_embeddings.weight"
	values, dims := m.Floats(name)
	values[int(tok.Encode(nil, word, 8)[1])*dims[1]] = float32(math.NaN())
	if err := m.SetFloats(name, values); err != nil {
		t.Fatal(err)
	}
	out := *f
	out.Model = m.Bytes()
	return &out
}

func TestErrors(t *testing.T) {
	trainWith := func(change func(in *finetune.Input, cfg *finetune.Config)) error {
		x, cfg := finetune.Input{
			Runtime: onnxtest.Start(t),
			Backend: onnxtest.Backend(t, 1),
			Files:   onnxtest.EncoderFiles(t, "fp32"),
			Corpus:  planted(200),
		}, quick()
		change(&x, &cfg)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if cfg.MaxSteps == 1000 {
			cfg.Progress = func(p finetune.Evaluation) { cancel() }
		}
		_, err := finetune.Train(ctx, x, cfg)
		return err
	}
	for _, c := range []struct {
		name     string
		change   func(in *finetune.Input, cfg *finetune.Config)
		wantErr  error
		wantText string
	}{
		{"no users", func(in *finetune.Input, _ *finetune.Config) { in.Corpus = planted(0) },
			finetune.ErrTooLittleData, "at least"},
		{"one user", func(in *finetune.Input, _ *finetune.Config) { in.Corpus = planted(1) },
			finetune.ErrTooLittleData, "at least"},
		{"one item", func(in *finetune.Input, _ *finetune.Config) {
			in.Corpus = planted(200)
			for u := range in.Corpus.Users {
				for i := range in.Corpus.Users[u].Interactions {
					in.Corpus.Users[u].Interactions[i].Item = 0
				}
			}
		}, finetune.ErrTooLittleData, "at least"},
		{"8-bit weights", func(in *finetune.Input, _ *finetune.Config) {
			in.Files = onnxtest.EncoderFiles(t, "int8")
		}, nil, "32-bit"},
		{"no model", func(in *finetune.Input, _ *finetune.Config) {
			f := *in.Files
			f.Model = []byte("x")
			in.Files = &f
		}, nil, "onnxfile"},
		{"too many layers", func(_ *finetune.Input, cfg *finetune.Config) { cfg.Layers = 7 }, nil,
			"7 layers"},
		{"invalid configuration", func(_ *finetune.Input, cfg *finetune.Config) {
			cfg.Temperature, cfg.Objective = 0, "x"
		}, nil, "Temperature"},
		{"canceled", func(_ *finetune.Input, cfg *finetune.Config) { cfg.MaxSteps = 1000 },
			context.Canceled, "canceled"},
		{"NaN weights", func(in *finetune.Input, _ *finetune.Config) {
			in.Files = corruptEncoder(t, in.Files, "whisk")
		}, nil, "the loss became NaN at step"},
	} {
		err := trainWith(c.change)
		if err == nil || c.wantErr != nil && !errors.Is(err, c.wantErr) ||
			!strings.Contains(err.Error(), c.wantText) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
