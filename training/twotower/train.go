package twotower

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

	"relish/training/signals"
)

// Train trains a model on the backend. It ends after Config.Epochs, when the validation has not become
// better for Config.Patience epochs, or with ctx's error. The weights are those of the epoch that validated
// best, of the last one if nothing was held out. A loss that is not finite is an error. With a backend of
// one thread the same data, configuration and machine give the same weights, unless the time limit bites.
func Train(
	ctx context.Context, backend backends.Backend, corpus *signals.Corpus, cfg Config,
) (*Result, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := validateCorpus(corpus); err != nil {
		return nil, err
	}
	t, err := newTrainer(backend, corpus, &cfg)
	if err != nil {
		return nil, err
	}
	defer t.free()
	return t.run(ctx)
}

// trainer is one training run.
type trainer struct {
	cfg       *Config
	corpus    *signals.Corpus
	text      *textComponents
	model     *model
	windows   [][]sequenceStep
	valid     *validation
	skipped   int       // skipped items per place that the graph takes, 0 if the data has none
	shift     []float32 // by item, subtracted from a negative's score
	stepExec  *mlcontext.Exec
	rateVar   *mlcontext.Variable
	rng       *rand.Rand
	stepsDone int // made
}

func newTrainer(backend backends.Backend, corpus *signals.Corpus, cfg *Config) (*trainer, error) {
	t := &trainer{cfg: cfg, corpus: corpus, rng: rand.New(rand.NewPCG(cfg.Seed, 3))}
	var err error
	if t.text, err = principalComponents(corpus.Vectors, cfg.Components); err != nil {
		return nil, err
	}
	windows, valid := splitValidation(corpus, cfg)
	if len(windows) == 0 {
		return nil, ErrNoSequences
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
				t.skipped = cfg.MaxSkipped
			}
		}
	}
	t.shift = logQShifts(cfg, beside, places)
	t.model = newModel(cfg, t.text, counts)
	if err := t.model.ctx.SetRNGStateFromSeed(int64(cfg.Seed)); err != nil {
		return nil, err
	}
	if t.valid, err = newValidation(backend, t.model, valid); err != nil {
		return nil, err
	}
	t.rateVar = optimizers.LearningRateVarWithValue(t.model.ctx, dtypes.Float32, cfg.LearningRate)
	adam := optimizers.Adam().WeightDecay(cfg.WeightDecay).Done()
	t.stepExec, err = mlcontext.NewExec(
		backend,
		t.model.ctx,
		func(ctx *mlcontext.Context, in []*Node) *Node {
			g := in[0].Graph()
			ctx.SetTraining(g, true)
			b := &batchNodes{
				items:         in[0],
				next:          in[1],
				weight:        in[2],
				negatives:     in[3],
				negativeShift: in[4],
			}
			if t.skipped > 0 {
				b.skipped, b.skippedShift = in[5], in[6]
			}
			loss := t.model.loss(b)
			adam.UpdateGraph(ctx, g, loss)
			return loss
		},
	)
	return t, err
}

func (t *trainer) free() {
	t.stepExec.Finalize()
	t.valid.free()
	t.model.ctx.Finalize()
}

// logQShifts is what LogQ subtracts from each item's score as a negative: the logarithm of how often it is drawn
// as one, at random or as skipped, relative to the mean. Without it, the score says how much likelier the
// item is taken than drawn; with all of it, how likely it is taken (Bengio and Senécal 2008).
func logQShifts(cfg *Config, beside []int, places int) []float32 {
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
		e := Epoch{Number: n, Planned: epochs, Loss: loss, NDCG: ndcg, Duration: time.Since(began)}
		result.Epochs = append(result.Epochs, e)
		if t.cfg.Progress != nil {
			t.cfg.Progress(e)
		}
		if math.IsNaN(ndcg) || ndcg > best {
			best, result.BestEpoch = ndcg, n
			if result.Model, err = t.toServing(); err != nil {
				return nil, err
			}
		}
		if t.cfg.EarlyStoppingEpochs > 0 && !math.IsNaN(ndcg) &&
			n-result.BestEpoch >= t.cfg.EarlyStoppingEpochs {
			break
		}
	}
	return result, nil
}

// epoch shows the model every window once and gives the mean loss.
func (t *trainer) epoch(ctx context.Context, epochs int) (float64, error) {
	batches := packEpoch(t.windows, t.cfg, t.skipped, t.rng)
	total, weight := 0.0, 0.0
	for _, p := range batches {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := t.rateVar.SetValue(tensors.FromScalar(float32(t.learningRate(t.stepsDone, epochs*len(batches))))); err != nil {
			return 0, err
		}
		out, err := t.stepExec.Exec(t.inputs(p)...)
		if err != nil {
			return 0, err
		}
		t.stepsDone++
		loss := float64(tensors.ToScalar[float32](out[0]))
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			return 0, fmt.Errorf(
				"the loss became %v at step %d; a smaller learning rate than %v may help", loss,
				t.stepsDone, t.cfg.LearningRate)
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
	warm := min(t.cfg.WarmUpSteps, steps/2)
	if step < warm {
		return t.cfg.LearningRate * float64(step+1) / float64(warm)
	}
	done := min(1, float64(step-warm)/float64(max(1, steps-warm)))
	return t.cfg.LearningRate * (1 + math.Cos(math.Pi*done)) / 2
}

// inputs are a step's: the batch and freshly drawn negatives.
func (t *trainer) inputs(p *paddedBatch) []any {
	negatives := make([]int32, t.cfg.Negatives)
	for i := range negatives {
		negatives[i] = int32(t.rng.IntN(t.corpus.Items.Len()))
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
