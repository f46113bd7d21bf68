package neural

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	mlcontext "github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"

	"relish/training/match"
)

// Train trains a model on the backend. It ends after Config.Epochs, when the validation has not become
// better for Config.Patience epochs, or with ctx's error. The weights are those of the epoch that validated
// best, of the last one if nothing was held out. A loss that is not finite is an error. With a backend of
// one thread the same data, configuration and machine give the same weights, unless the time limit bites.
func Train(ctx context.Context, backend backends.Backend, corpus *match.Corpus, cfg Config) (*Result, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := check(corpus); err != nil {
		return nil, err
	}
	t, err := newTrainer(backend, corpus, &cfg)
	if err != nil {
		return nil, err
	}
	defer t.close()
	return t.run(ctx)
}

// trainer is one training run.
type trainer struct {
	cfg     *Config
	corpus  *match.Corpus
	text    *components
	model   *model
	windows [][]step
	valid   *validation
	skipped int       // skipped items per place that the graph takes, 0 if the data has none
	shift   []float32 // by item, subtracted from a negative's score
	step    *mlcontext.Exec
	rate    *mlcontext.Variable
	r       *rand.Rand
	steps   int // made
}

func newTrainer(backend backends.Backend, corpus *match.Corpus, cfg *Config) (*trainer, error) {
	t := &trainer{cfg: cfg, corpus: corpus, r: rand.New(rand.NewPCG(cfg.Seed, 3))}
	var err error
	if t.text, err = analyse(corpus.Vectors, cfg.Components); err != nil {
		return nil, err
	}
	windows, valid := divide(corpus, cfg)
	if len(windows) == 0 {
		return nil, ErrNothing
	}
	t.windows = windows
	counts, places := make([]int, corpus.Items.Len()), 0
	beside := make([]int, corpus.Items.Len())
	for _, w := range windows {
		for _, s := range w[1:] {
			places++
			counts[s.Item]++
			for _, k := range s.skipped {
				beside[k]++
				t.skipped = cfg.Skipped
			}
		}
	}
	t.shift = shifts(cfg, beside, places)
	t.model = newModel(cfg, t.text, counts)
	if err := t.model.ctx.SetRNGStateFromSeed(int64(cfg.Seed)); err != nil {
		return nil, err
	}
	if t.valid, err = newValidation(backend, t.model, valid); err != nil {
		return nil, err
	}
	t.rate = optimizers.LearningRateVarWithValue(t.model.ctx, dtypes.Float32, cfg.LearningRate)
	adam := optimizers.Adam().WeightDecay(cfg.WeightDecay).Done()
	t.step, err = mlcontext.NewExec(backend, t.model.ctx, func(ctx *mlcontext.Context, in []*Node) *Node {
		g := in[0].Graph()
		ctx.SetTraining(g, true)
		b := &batch{items: in[0], next: in[1], weight: in[2], negatives: in[3], negativeShift: in[4]}
		if t.skipped > 0 {
			b.skipped, b.skippedShift = in[5], in[6]
		}
		loss := t.model.loss(b)
		adam.UpdateGraph(ctx, g, loss)
		return loss
	})
	return t, err
}

func (t *trainer) close() {
	t.step.Finalize()
	t.valid.close()
	t.model.ctx.Finalize()
}

// shifts is what LogQ subtracts from each item's score as a negative: the logarithm of how often it is drawn
// as one, at random or as skipped, relative to the mean. Without it, the score says how much likelier the
// item is taken than drawn; with all of it, how likely it is taken (Bengio and Senécal 2008).
func shifts(cfg *Config, beside []int, places int) []float32 {
	n := float64(len(beside))
	often, total := make([]float64, len(beside)), 0.0
	for i, b := range beside {
		often[i] = float64(cfg.Negatives)/n + float64(b)/float64(places)
		total += often[i]
	}
	out := make([]float32, len(beside))
	for i := range out {
		out[i] = float32(cfg.LogQ * math.Log(often[i]*n/total))
	}
	return out
}

func (t *trainer) run(ctx context.Context) (*Result, error) {
	result := &Result{}
	best := math.Inf(-1)
	epochs, start := t.cfg.Epochs, time.Now()
	for n := 1; n <= epochs; n++ {
		began := time.Now()
		loss, err := t.epoch(ctx, epochs)
		if err != nil {
			return nil, fmt.Errorf("match: epoch %d: %w", n, err)
		}
		ndcg, err := t.valid.ndcg()
		if err != nil {
			return nil, err
		}
		if limit := t.cfg.TimeLimit; limit > 0 { // as many more as fit, at the pace so far
			perEpoch := time.Since(start) / time.Duration(n)
			epochs = min(epochs, n+int(max(0, limit-time.Since(start))/perEpoch))
		}
		e := Epoch{Number: n, Of: epochs, Loss: loss, NDCG: ndcg, Took: time.Since(began)}
		result.Epochs = append(result.Epochs, e)
		if t.cfg.Progress != nil {
			t.cfg.Progress(e)
		}
		if math.IsNaN(ndcg) || ndcg > best {
			best, result.Best = ndcg, n
			if result.Model, err = t.served(); err != nil {
				return nil, err
			}
		}
		if t.cfg.Patience > 0 && !math.IsNaN(ndcg) && n-result.Best >= t.cfg.Patience {
			break
		}
	}
	return result, nil
}

// epoch shows the model every window once and gives the mean loss.
func (t *trainer) epoch(ctx context.Context, epochs int) (float64, error) {
	batches := epoch(t.windows, t.cfg, t.skipped, t.r)
	total, weight := 0.0, 0.0
	for _, p := range batches {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := t.rate.SetValue(tensors.FromScalar(float32(t.learningRate(t.steps, epochs*len(batches))))); err != nil {
			return 0, err
		}
		out, err := t.step.Exec(t.inputs(p)...)
		if err != nil {
			return 0, err
		}
		t.steps++
		loss := float64(tensors.ToScalar[float32](out[0]))
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			return 0, fmt.Errorf("the loss became %v at step %d; a smaller learning rate than %v may help", loss, t.steps, t.cfg.LearningRate)
		}
		w := 0.0
		for _, v := range p.weight {
			w += float64(v)
		}
		total, weight = total+w*loss, weight+w
	}
	return total / weight, nil
}

// learningRate rises to its height over the warm-up and falls along half a cosine to nothing.
func (t *trainer) learningRate(step, steps int) float64 {
	warm := min(t.cfg.WarmUp, steps/2)
	if step < warm {
		return t.cfg.LearningRate * float64(step+1) / float64(warm)
	}
	done := min(1, float64(step-warm)/float64(max(1, steps-warm)))
	return t.cfg.LearningRate * (1 + math.Cos(math.Pi*done)) / 2
}

// inputs are a step's: the batch and freshly drawn negatives.
func (t *trainer) inputs(p *places) []any {
	negatives := make([]int32, t.cfg.Negatives)
	for i := range negatives {
		negatives[i] = int32(t.r.IntN(t.corpus.Items.Len()))
	}
	n := len(p.items)
	in := []any{
		tensors.FromFlatDataAndDimensions(p.items, p.batch, p.length),
		tensors.FromFlatDataAndDimensions(p.next, p.batch, p.length),
		tensors.FromFlatDataAndDimensions(p.weight, p.batch, p.length),
		tensors.FromFlatDataAndDimensions(negatives, len(negatives)),
		tensors.FromFlatDataAndDimensions(t.shiftsOf(negatives), len(negatives)),
	}
	if t.skipped > 0 {
		in = append(in, tensors.FromFlatDataAndDimensions(p.skipped, n, t.skipped),
			tensors.FromFlatDataAndDimensions(t.shiftsOf(p.skipped), n, t.skipped))
	}
	return in
}

func (t *trainer) shiftsOf(items []int32) []float32 {
	out := make([]float32, len(items))
	for i, item := range items {
		out[i] = t.shift[item]
	}
	return out
}
