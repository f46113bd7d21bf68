package twotower_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/embeddings/onnx"
	"relish/internal/onnxtest"
	"relish/ranker"
	serving "relish/ranker/signals"
	"relish/training/signals"
	"relish/training/twotower"
)

const kinds, perKind, textDim = 4, 12, 10

// syntheticCorpus returns a catalogue of several kinds of items, whose texts tell the kind, and
// users who each like one kind. The last two items of each kind are new: nobody took them.
func syntheticCorpus(r *rand.Rand, users int) *signals.Corpus {
	c := &signals.Corpus{}
	var ids []string
	for i := range kinds * perKind {
		ids = append(ids, fmt.Sprint("item-", i))
		v, norm := make([]float32, textDim), 0.0
		for d := range v {
			v[d] = float32(r.NormFloat64() * 0.3)
			if d == i%kinds {
				v[d]++
			}
			norm += float64(v[d]) * float64(v[d])
		}
		for d := range v {
			v[d] /= float32(math.Sqrt(norm))
		}
		c.Vectors = append(c.Vectors, v)
	}
	c.Items = ranker.NewItemTable(ids)
	for range users {
		kind, u := r.IntN(kinds), signals.UserHistory{}
		for range 3 + r.IntN(8) {
			u.Interactions = append(u.Interactions,
				signals.Interaction{Item: int32(kind + kinds*r.IntN(perKind-2)), Gain: 1})
		}
		c.Users = append(c.Users, u)
	}
	return c
}

func config(layers int) twotower.Config {
	cfg := twotower.DefaultConfig()
	cfg.Layers, cfg.Dim, cfg.Components, cfg.Negatives = layers, 16, 8, 16
	cfg.Epochs, cfg.WarmUpSteps, cfg.BatchPositions = 6, 5, 128
	cfg.LearningRate, cfg.IDDropout = 1e-2, 0.3
	return cfg
}

func train(t testing.TB, c *signals.Corpus, cfg twotower.Config) *twotower.Result {
	t.Helper()
	res, err := twotower.Train(t.Context(), onnxtest.Backend(t, 1), c, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// scores returns the two columns of the candidates for a user with this history, oldest first.
func scores(
	t testing.TB, m *serving.TwoTower, c *signals.Corpus, history, candidates []int,
) (full, text []float64) {
	t.Helper()
	in := &ranker.SignalInput{Request: &ranker.Request{}, State: &ranker.RequestState{}}
	for _, h := range slices.Backward(history) {
		in.State.Recent = append(in.State.Recent, ranker.Interaction{Item: c.Items.IDs()[h]})
		in.RecentVectors = append(in.RecentVectors, c.Vectors[h])
	}
	for _, i := range candidates {
		in.Request.Candidates = append(in.Request.Candidates,
			ranker.Candidate{ID: c.Items.IDs()[i]})
		in.ItemVectors = append(in.ItemVectors, c.Vectors[i])
		in.State.Items = append(in.State.Items, nil)
	}
	out := make([]float32, 2*len(candidates))
	if err := m.Compute(t.Context(), in, out); err != nil {
		t.Fatal(err)
	}
	for i := range candidates {
		full, text = append(full, float64(out[2*i])), append(text, float64(out[2*i+1]))
	}
	return full, text
}

// Users of one kind take more items of it. Trained models predict this with pooling and with
// attention, and by text also for items that nobody took.
func TestLearnsPreferencesAndText(t *testing.T) {
	c := syntheticCorpus(rand.New(rand.NewPCG(1, 1)), 400)
	for layers := range 3 {
		var reported []twotower.Epoch
		cfg := config(layers)
		cfg.Progress = func(e twotower.Epoch) { reported = append(reported, e) }
		res := train(t, c, cfg)
		equal := func(a, b twotower.Epoch) bool { return a == b }
		if !slices.EqualFunc(reported, res.Epochs, equal) || len(reported) == 0 {
			t.Errorf("layers %d: Progress got %v, the result has %v", layers, reported, res.Epochs)
		}
		first, best := res.Epochs[0], res.Epochs[res.BestEpoch-1]
		if last := res.Epochs[len(res.Epochs)-1]; last.Loss >= first.Loss {
			t.Errorf("layers %d: the loss went from %v to %v", layers, first.Loss, last.Loss)
		}
		// A model that knows only the kind ranks the right item at random among about 25 of the 99
		// random items: 0.13 in the mean. Popularity helps a little.
		if best.NDCG < 0.12 {
			t.Errorf("layers %d: NDCG %v", layers, best.NDCG)
		}
		for kind := range kinds {
			var same, other, newSame, newOther []int
			for i := range kinds * perKind {
				isNew := i >= kinds*(perKind-2)
				switch {
				case isNew && i%kinds == kind:
					newSame = append(newSame, i)
				case isNew:
					newOther = append(newOther, i)
				case i%kinds == kind:
					same = append(same, i)
				default:
					other = append(other, i)
				}
			}
			history := same[:3]
			full, _ := scores(t, res.Model, c, history, same)
			others, _ := scores(t, res.Model, c, history, other)
			if slices.Min(full) < mean(others) || mean(full) < mean(others)+1 {
				t.Errorf("layers %d, kind %d: same kind %.2f, others %.2f",
					layers, kind, full, others)
			}
			_, byText := scores(t, res.Model, c, history, newSame)
			_, otherText := scores(t, res.Model, c, history, newOther)
			if slices.Min(byText) < mean(otherText) {
				t.Errorf("layers %d, kind %d: new items by text: same kind %.2f, others %.2f",
					layers, kind, byText, otherText)
			}
		}
	}
}

// A model of users who each like one kind of item beats item popularity. A model of users who take
// items at random does not.
func TestBeatsPopularity(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	c := syntheticCorpus(r, 400)
	good := train(t, c, config(1)).Validation
	if good.Users < 150 || !good.BeatsPopularity() {
		t.Errorf("users with preferences: %+v", good)
	}
	for u := range c.Users {
		for k := range c.Users[u].Interactions {
			// The square makes some items more popular than others.
			x := r.Float64()
			c.Users[u].Interactions[k].Item = int32(x * x * float64(c.Items.Len()))
		}
	}
	random := train(t, c, config(1)).Validation
	if random.Users < 150 || random.BeatsPopularity() || !(random.StandardError > 0) {
		t.Errorf("users without preferences: %+v", random)
	}
}

func mean(x []float64) (m float64) {
	for _, v := range x {
		m += v / float64(len(x))
	}
	return m
}

func TestSameSeedSameModel(t *testing.T) {
	c := syntheticCorpus(rand.New(rand.NewPCG(1, 1)), 60)
	cfg := config(1)
	cfg.Epochs = 2
	first, again := train(t, c, cfg).Model.Encode(), train(t, c, cfg).Model.Encode()
	cfg.Seed++
	other := train(t, c, cfg).Model.Encode()
	if !bytes.Equal(first, again) || bytes.Equal(first, other) {
		t.Error("the seed does not determine the model")
	}
}

// Two items are taken equally often, but one of them is also shown and skipped a lot. Lists teach
// the model this difference, which random negatives cannot. LogQ removes it again.
func TestSkippedItems(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	c := syntheticCorpus(r, 0)
	c.Vectors = nil
	for range 300 {
		u := signals.UserHistory{}
		for k := range 4 {
			taken := int32(r.IntN(8))
			u.Interactions = append(u.Interactions, signals.Interaction{Item: taken, Gain: 1})
			if k > 0 && taken != 1 {
				u.Lists = append(u.Lists,
					signals.List{Items: []int32{taken, 1}, Gains: []float32{1, 0}})
			}
		}
		c.Users = append(c.Users, u)
	}
	lead := func(logQ float64) float64 { // how far item 0 scores above the skipped item
		cfg := config(0)
		cfg.LogQ, cfg.MaxSkipped, cfg.HoldoutShare = logQ, 2, 0
		res := train(t, c, cfg)
		if res.BestEpoch != cfg.Epochs || !math.IsNaN(res.Epochs[0].NDCG) {
			t.Errorf("without a holdout, the best epoch is %d with NDCG %v", res.BestEpoch,
				res.Epochs[0].NDCG)
		}
		noText := &signals.Corpus{Items: c.Items, Vectors: make([][]float32, c.Items.Len())}
		s, text := scores(t, res.Model, noText, []int{5, 6}, []int{0, 1})
		if !math.IsNaN(text[0]) {
			t.Errorf("a model without text has the text score %v, want NaN", text[0])
		}
		return s[0] - s[1]
	}
	if without, with := lead(0), lead(1); without < 0.5 || with > without/2 {
		t.Errorf("item 0 scores %.2f above the skipped item, with LogQ %.2f", without, with)
	}
}

// A limit of steps allows as many whole epochs as fit, at least one.
func TestMaxSteps(t *testing.T) {
	c := syntheticCorpus(rand.New(rand.NewPCG(3, 3)), 0)
	for u := range 64 { // three interactions each: two windows of one target
		history := signals.UserHistory{}
		for k := range 3 {
			history.Interactions = append(history.Interactions,
				signals.Interaction{Item: int32((u + k) % c.Items.Len()), Gain: 1})
		}
		c.Users = append(c.Users, history)
	}
	for steps, epochs := range map[int]int{1: 1, 5: 2, 6: 3, 0: 6, 1000: 6} {
		cfg := config(0)
		cfg.HistoryLength, cfg.HoldoutShare, cfg.BatchPositions = 1, 0, 64 // two steps an epoch
		cfg.MaxSteps, cfg.TimeLimit = steps, time.Hour
		res := train(t, c, cfg)
		if len(res.Epochs) != epochs || res.Epochs[0].Planned != epochs || res.TimeLimited {
			t.Errorf("%d steps: limited %v, %+v", steps, res.TimeLimited, res.Epochs)
		}
	}
}

func TestStopsEarly(t *testing.T) {
	c := syntheticCorpus(rand.New(rand.NewPCG(3, 3)), 60)
	cfg := config(0)
	cfg.TimeLimit = time.Nanosecond
	res := train(t, c, cfg)
	if len(res.Epochs) != 1 || res.Epochs[0].Planned != 1 || !res.TimeLimited {
		t.Errorf("without time: limited %v, %+v", res.TimeLimited, res.Epochs)
	}
	for u := range c.Users { // random items, so that validation soon stops getting better
		for k := range c.Users[u].Interactions {
			c.Users[u].Interactions[k].Item = int32(
				rand.New(rand.NewPCG(uint64(u), uint64(k))).IntN(40))
		}
	}
	cfg = config(0)
	cfg.Epochs, cfg.EarlyStoppingEpochs = 100, 2
	if res := train(t, c, cfg); len(res.Epochs) == 100 || len(res.Epochs) != res.BestEpoch+2 {
		t.Errorf("the best epoch is %d of %d", res.BestEpoch, len(res.Epochs))
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := twotower.Train(canceled, onnxtest.Backend(t, 1), c, cfg)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("with a canceled context: %v", err)
	}
}

func TestErrors(t *testing.T) {
	good := func() *signals.Corpus { return syntheticCorpus(rand.New(rand.NewPCG(1, 1)), 20) }
	for _, c := range []struct {
		name, want string
		change     func(c *signals.Corpus, cfg *twotower.Config)
	}{
		{"an empty log", twotower.ErrNoSequences.Error(),
			func(c *signals.Corpus, _ *twotower.Config) { c.Users = nil }},
		{"users with one interaction", twotower.ErrNoSequences.Error(),
			func(c *signals.Corpus, _ *twotower.Config) {
				for u := range c.Users {
					c.Users[u].Interactions = c.Users[u].Interactions[:1]
				}
			}},
		{"one item", twotower.ErrTooFewItems.Error(),
			func(c *signals.Corpus, _ *twotower.Config) {
				c.Items = ranker.NewItemTable([]string{"a"})
			}},
		{"an unknown item", "item 99",
			func(c *signals.Corpus, _ *twotower.Config) { c.Users[0].Interactions[0].Item = 99 }},
		{"a NaN text vector", "NaN",
			func(c *signals.Corpus, _ *twotower.Config) { c.Vectors[3][0] = float32(math.NaN()) }},
		{"text vectors of two lengths", "length",
			func(c *signals.Corpus, _ *twotower.Config) { c.Vectors[3] = c.Vectors[3][1:] }},
		{"an infinite loss", "the loss became",
			func(c *signals.Corpus, _ *twotower.Config) {
				for u := range c.Users {
					for k := range c.Users[u].Interactions {
						c.Users[u].Interactions[k].Gain = 3e38
					}
				}
			}},
		{"an invalid configuration", "HoldoutShare is 2",
			func(_ *signals.Corpus, cfg *twotower.Config) { cfg.HoldoutShare = 2 }},
		{"several invalid settings", "Dropout is -1",
			func(_ *signals.Corpus, cfg *twotower.Config) { cfg.Dropout, cfg.Heads = -1, 3 }},
		{"heads that do not divide Dim", "must divide",
			func(_ *signals.Corpus, cfg *twotower.Config) { cfg.Heads = 3 }},
	} {
		corpus, cfg := good(), config(0)
		c.change(corpus, &cfg)
		if _, err := twotower.Train(t.Context(), onnxtest.Backend(t, 1), corpus, cfg); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}

// Training works with one user, although the model learns almost nothing.
func TestOneUser(t *testing.T) {
	c := syntheticCorpus(rand.New(rand.NewPCG(1, 1)), 1)
	if res := train(t, c, config(1)); res.Model == nil {
		t.Error("Train returned no model")
	}
}

// The exported graph gives the user vectors that the service computes in Go.
func TestExport(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	c := syntheticCorpus(r, 40)
	for layers := range 3 {
		cfg := config(layers)
		cfg.Epochs, cfg.HistoryLength = 1, 7
		m := train(t, c, cfg).Model
		file, err := twotower.ExportUserTower(m)
		if err != nil {
			t.Fatal(err)
		}
		p, err := onnxtest.Start(t).LoadGraph(file, onnx.GraphOptions{
			Inputs:  []string{twotower.InputHistory, twotower.InputNewest},
			Outputs: []string{twotower.OutputUser},
		})
		if err != nil {
			t.Fatal(err)
		}
		const batch = 9
		history := make([]float32, batch*cfg.HistoryLength*cfg.Dim)
		newest, user := make([]float32, batch*cfg.HistoryLength), make([]float32, batch*cfg.Dim)
		var want []float32
		for i := range batch {
			var rows [][]float32
			n := 1 + r.IntN(cfg.HistoryLength)
			for k := range n {
				row := history[(i*cfg.HistoryLength+k)*cfg.Dim:][:cfg.Dim]
				for d := range row {
					row[d] = float32(r.NormFloat64())
				}
				rows = append(rows, row)
			}
			newest[i*cfg.HistoryLength+n-1] = 1
			want = append(want, m.UserVector(rows)...)
		}
		err = p.Run(
			t.Context(),
			[]onnx.Tensor{
				{Shape: []int64{batch, int64(cfg.HistoryLength), int64(cfg.Dim)}, Data: history},
				{Shape: []int64{batch, int64(cfg.HistoryLength)}, Data: newest},
			},
			[]onnx.Tensor{{Shape: []int64{batch, int64(cfg.Dim)}, Data: user}},
		)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if math.Abs(float64(user[i]-want[i])) > 1e-4 {
				t.Fatalf("layers %d: component %d is %v in the graph and %v in Go",
					layers, i, user[i], want[i])
			}
		}
		p.Close()
	}
}
