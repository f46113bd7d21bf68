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

// Train trains a model on the backend. It ends after Config.Epochs epochs or Config.MaxSteps steps,
// after Config.EarlyStoppingEpochs epochs without a new best validation, at Config.TimeLimit, or
// with the error of ctx. The result has the weights of the epoch with the best validation, or of
// the last epoch without a holdout.
//
// It returns ErrNoSequences or ErrTooFewItems if there is nothing to learn from, and an error if
// the loss becomes NaN or infinite. On a CPU, the same data, configuration and machine give the
// same weights, unless the time limit shortens the training.
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

// trainer is one run of Train.
type trainer struct {
	cfg       *Config
	corpus    *signals.Corpus
	text      *textComponents
	model     *model
	windows   [][]sequenceStep
	valid     *validation
	counts    []int     // by item: how often it is a target
	skipped   int       // skipped items of each position in the graph; 0 if the corpus has none
	shift     []float32 // by item: subtracted from its score as a negative
	stepExec  *mlcontext.Exec
	rateVar   *mlcontext.Variable
	rng       *rand.Rand
	stepsDone int // steps made so far
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
	positions := 0
	t.counts = make([]int, corpus.Items.Len())
	skippedCounts := make([]int, corpus.Items.Len())
	for _, w := range windows {
		for _, s := range w[1:] {
			positions++
			t.counts[s.Item]++
			for _, k := range s.skipped {
				skippedCounts[k]++
				t.skipped = cfg.MaxSkipped
			}
		}
	}
	t.shift = logQShifts(cfg, skippedCounts, positions)
	t.model = newModel(cfg, t.text, t.counts)
	if err := t.model.ctx.SetRNGStateFromSeed(int64(cfg.Seed)); err != nil {
		return nil, err
	}
	if t.valid, err = newValidation(backend, t.model, valid); err != nil {
		return nil, err
	}
	t.rateVar = optimizers.LearningRateVarWithValue(t.model.ctx, dtypes.Float32, cfg.LearningRate)
	adam := optimizers.Adam().WeightDecay(cfg.WeightDecay).Done()
	step := func(ctx *mlcontext.Context, in []*Node) *Node {
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
	}
	t.stepExec, err = mlcontext.NewExec(backend, t.model.ctx, step)
	return t, err
}

func (t *trainer) free() {
	t.stepExec.Finalize()
	t.valid.free()
	t.model.ctx.Finalize()
}

// logQShifts returns the popularity correction of each item, which the loss subtracts from its
// score as a negative. It is LogQ times the logarithm of how often the item is a negative, random
// or skipped, relative to the mean (Bengio and Senécal 2008). Config.LogQ says what it does to a
// score.
func logQShifts(cfg *Config, skippedCounts []int, positions int) []float32 {
	n := float64(len(skippedCounts))
	counts, total := make([]float64, len(skippedCounts)), 0.0
	for i, b := range skippedCounts {
		counts[i] = float64(cfg.Negatives)/n + float64(b)/float64(positions)
		total += counts[i]
	}
	out := make([]float32, len(skippedCounts))
	for i := range out {
		out[i] = float32(cfg.LogQ * math.Log(counts[i]*n/total))
	}
	return out
}

func (t *trainer) run(ctx context.Context) (*Result, error) {
	result := &Result{}
	best := math.Inf(-1)
	epochs, start := t.cfg.Epochs, time.Now()
	for n := 1; n <= epochs; n++ {
		epochStart := time.Now()
		batches := packEpoch(t.windows, t.cfg, t.skipped, t.rng)
		if n == 1 && t.cfg.MaxSteps > 0 {
			epochs = min(epochs, max(1, t.cfg.MaxSteps/len(batches)))
		}
		loss, err := t.epoch(ctx, batches, epochs)
		if err != nil {
			return nil, fmt.Errorf("twotower: epoch %d: %w", n, err)
		}
		byUser, err := t.valid.ndcg()
		if err != nil {
			return nil, err
		}
		validation := t.valid.compare(byUser, t.counts)
		ndcg := math.NaN()
		if validation.Users > 0 {
			ndcg = validation.NDCG
		}
		if limit := t.cfg.TimeLimit; limit > 0 { // at the mean speed so far
			perEpoch := time.Since(start) / time.Duration(n)
			if fit := n + int(max(0, limit-time.Since(start))/perEpoch); fit < epochs {
				epochs, result.TimeLimited = fit, true
			}
		}
		e := Epoch{Number: n, Planned: epochs, Loss: loss, NDCG: ndcg,
			Duration: time.Since(epochStart)}
		result.Epochs = append(result.Epochs, e)
		if t.cfg.Progress != nil {
			t.cfg.Progress(e)
		}
		if math.IsNaN(ndcg) || ndcg > best {
			best, result.BestEpoch, result.Validation = ndcg, n, validation
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

// epoch trains on the batches of one of so many epochs and returns the weighted mean loss.
func (t *trainer) epoch(
	ctx context.Context, batches []*paddedBatch, epochs int,
) (float64, error) {
	total, weight := 0.0, 0.0
	for _, p := range batches {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		rate := float32(t.learningRate(t.stepsDone, epochs*len(batches)))
		if err := t.rateVar.SetValue(tensors.FromScalar(rate)); err != nil {
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
				"the loss became %v at step %d; try a learning rate below %v", loss,
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

// learningRate rises linearly during the warm-up and then falls to 0 along a half cosine.
func (t *trainer) learningRate(step, steps int) float64 {
	warm := min(t.cfg.WarmUpSteps, steps/2)
	if step < warm {
		return t.cfg.LearningRate * float64(step+1) / float64(warm)
	}
	done := min(1, float64(step-warm)/float64(max(1, steps-warm)))
	return t.cfg.LearningRate * (1 + math.Cos(math.Pi*done)) / 2
}

// inputs returns the inputs of one step: the batch and newly drawn negatives.
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
