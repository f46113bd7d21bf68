package finetune

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	mlcontext "github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"

	"relish/embeddings/onnx"
	"relish/internal/stats"
	"relish/training/signals"
)

// Input is what an encoder is tuned on.
type Input struct {
	Runtime *onnx.Runtime
	Backend backends.Backend   // that trains
	Files   *onnx.EncoderFiles // the encoder, with 32-bit weights
	Corpus  *signals.Corpus    // Vectors are not read; Users may be empty for the objective TitleText
	// HasNewEvents says by user whether he did something that the encoder has not learned from: half of the lessons are then of
	// such users, and half of all, so that the old is not forgotten. nil: all are alike.
	HasNewEvents []bool
}

// Train tunes an encoder. It ends after Config.Steps, when Config.TimeLimit is over, when the guard has not become better
// for Config.Patience looks, or with ctx's error; the weights are those of the last look that was not clearly worse than
// the best. A loss that is not finite is an error, and so is too little to learn from (ErrFew). With a backend of one
// thread the same input and configuration give the same weights, unless the time limit bites.
func Train(ctx context.Context, in Input, cfg Config) (*Result, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	t := &trainer{in: &in, cfg: &cfg, start: time.Now()}
	defer t.free()
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	if err := t.run(ctx); err != nil {
		return nil, err
	}
	res, err := t.finish(ctx)
	if err != nil {
		return nil, err
	}
	res.Duration = time.Since(t.start)
	return res, nil
}

// trainer is one tuning at work.
type trainer struct {
	in           *Input
	cfg          *Config
	start        time.Time
	corpus       *corpus
	net          *network
	coder        *networkEncoder // by the averaged weights
	sampler      *sampler
	validator    *validator
	stepExec     *mlcontext.Exec
	learningRate *mlcontext.Variable
	steps        int // steps
	evaluations  []Evaluation
	bestNDCG     []float64            // the best look's NDCG, by case
	keptWeights  map[string][]float32 // the averaged weights that are kept, nil before the first look
	keptStep     int                  // step
}

// prepare makes all that training needs. What it has made, close frees, also where it fails.
func (t *trainer) prepare(ctx context.Context) (err error) {
	in, cfg := t.in, t.cfg
	if t.corpus, err = buildCorpus(in, cfg); err != nil {
		return err
	}
	c := t.corpus
	t.validator = newValidator(c, cfg)
	if c.countPairs() < minPairs || len(t.validator.stoppingCases) < minCases ||
		len(t.validator.finalCases) < minCases {
		return fmt.Errorf(
			"%w: %d steps from one text to the next, and %d that lead to texts held out for the comparison; at least %d and %d are needed",
			ErrTooLittleData, c.countPairs(),
			len(t.validator.stoppingCases)+len(t.validator.finalCases), minPairs, 2*minCases)
	}
	if t.net, err = openNetwork(in.Files.Model); err != nil {
		return err
	}
	if cfg.Layers > t.net.layers {
		return fmt.Errorf("encoder: %d layers are to be trained, and it has %d", cfg.Layers,
			t.net.layers)
	}
	s := batchShape{
		rows:       cfg.BatchTokens / c.rowLength,
		length:     c.rowLength,
		dim:        t.net.dim,
		clsPooling: in.Files.Pooling == "cls",
	}
	s.texts = s.slots() / slotsPerText
	if err := t.detectHeads(ctx, s); err != nil {
		return err
	}
	lower, err := t.computeLowerStates(ctx, s)
	if err != nil {
		return err
	}
	t.net.createVariables(c.vocab, t.firstTrainedLayer(), cfg.LoRARank, cfg.Seed)
	t.net.createAverages()
	t.sampler = newSampler(c, cfg, s, lower)
	if t.coder, err = newNetworkEncoder(in.Backend, t.net, s, c, lower); err != nil {
		return err
	}
	return t.compile()
}

// What tuning needs at the very least to say anything: see release for what it needs to be worth its time.
const (
	minPairs = 200
	minCases = 20
)

// firstTrainedLayer is the first layer that is trained.
func (t *trainer) firstTrainedLayer() int {
	if t.cfg.Layers == 0 {
		return 0
	}
	return t.net.layers - t.cfg.Layers
}

func (t *trainer) compile() error {
	net := t.net
	t.learningRate = optimizers.LearningRateVarWithValue(net.ctx, dtypes.Float32,
		t.cfg.LearningRate)
	adam := optimizers.Adam().Epsilon(1e-8).Done().(interface {
		UpdateGraphWithGradients(ctx *mlcontext.Context, grads []*Node, lossDType dtypes.DType)
	})
	var err error
	t.stepExec, err = mlcontext.NewExec(
		t.in.Backend,
		net.ctx,
		func(ctx *mlcontext.Context, in []*Node) *Node {
			g := in[0].Graph()
			ctx.SetTraining(g, true)
			vectors := net.vectors(&input{in[0], in[1], in[2], in[3]}, false)
			l := infoNCE(vectors, in[4], in[5], in[6], t.cfg.Temperature)
			adam.UpdateGraphWithGradients(ctx,
				clipGradients(ctx.BuildTrainableVariablesGradientsGraph(l), t.cfg.MaxGradNorm),
				dtypes.Float32)
			net.updateAverages(g, t.cfg.EMADecay)
			return l
		},
	)
	return err
}

// clipGradients scales the gradients so that their common norm is at most limit.
func clipGradients(grads []*Node, limit float64) []*Node {
	var sum *Node
	for _, g := range grads {
		if s := ReduceAllSum(Square(g)); sum == nil {
			sum = s
		} else {
			sum = Add(sum, s)
		}
	}
	scale := MinScalar(Div(Scalar(sum.Graph(), dtypes.Float32, limit), Sqrt(AddScalar(sum, 1e-12))),
		1)
	out := make([]*Node, len(grads))
	for i, g := range grads {
		out[i] = Mul(g, scale)
	}
	return out
}

func (t *trainer) free() {
	if t.stepExec != nil {
		t.stepExec.Finalize()
	}
	if t.coder != nil {
		t.coder.free()
	}
	if t.net != nil {
		t.net.finalize()
	}
}

// run trains, with a look at the guard now and then.
func (t *trainer) run(ctx context.Context) error {
	loss, at := math.NaN(), 0
	for {
		if err := t.evaluate(ctx, loss); err != nil {
			return err
		}
		if t.steps >= t.cfg.MaxSteps || t.outOfTime() ||
			t.cfg.EarlyStoppingEvals > 0 &&
				len(t.evaluations)-1-t.bestEvaluation() >= t.cfg.EarlyStoppingEvals {
			return nil
		}
		sum := 0.0
		at = t.steps
		for t.steps < min(at+t.cfg.EvalEvery, t.cfg.MaxSteps) && (t.steps == at || !t.outOfTime()) {
			l, err := t.trainStep(ctx)
			if err != nil {
				return err
			}
			sum += l
		}
		loss = sum / float64(t.steps-at)
	}
}

// outOfTime reports whether the time is over, with what the last look and the end cost.
func (t *trainer) outOfTime() bool {
	return t.cfg.TimeLimit > 0 &&
		time.Since(t.start)+t.validator.lastDuration*(1+finalCostEvals) > t.cfg.TimeLimit
}

// trainStep makes one step.
func (t *trainer) trainStep(ctx context.Context) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	rate := t.cfg.LearningRate * min(1, float64(t.steps+1)/float64(max(1, t.cfg.WarmUpSteps)))
	if err := t.learningRate.SetValue(tensors.FromScalar(float32(rate))); err != nil {
		return 0, fmt.Errorf("encoder: %w", err)
	}
	out, err := t.stepExec.Exec(t.sampler.nextBatch().tensors()...)
	if err != nil {
		return 0, fmt.Errorf("encoder: %w", err)
	}
	t.steps++
	loss := float64(tensors.ToScalar[float32](out[0]))
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, fmt.Errorf(
			"encoder: the loss became %v at step %d; a smaller learning rate than %v may help",
			loss, t.steps, t.cfg.LearningRate)
	}
	return loss, nil
}

// evaluate asks the guard, and keeps the averaged weights unless they are clearly worse than the best so far: by more than one
// standard error of the difference. A look is a sample, so that the best of several looks is partly luck, while what has been
// trained longer has seen more of the texts that the guard leaves out.
func (t *trainer) evaluate(ctx context.Context, loss float64) error {
	began := time.Now()
	ndcg, err := scoreCases(ctx, t.validator.stoppingCases, t.coder.encode, t.cfg)
	if err != nil {
		return err
	}
	t.validator.lastDuration = time.Since(began)
	p := Evaluation{Step: t.steps, Loss: loss, NDCG: stats.Mean(ndcg), Elapsed: time.Since(t.start)}
	t.evaluations = append(t.evaluations, p)
	if t.cfg.Progress != nil {
		t.cfg.Progress(p)
	}
	if t.bestEvaluation() == len(t.evaluations)-1 {
		t.bestNDCG = ndcg
	}
	if !clearlyWorse(ndcg, t.bestNDCG) {
		t.keptWeights, t.keptStep = t.net.averages(), t.steps
	}
	return nil
}

// clearlyWorse reports whether a is below b, case by case, by more than one standard error.
func clearlyWorse(a, b []float64) bool {
	n, sum, squares := float64(len(a)), 0.0, 0.0
	for i := range a {
		d := a[i] - b[i]
		sum += d
		squares += d * d
	}
	mean := sum / n
	return mean < -math.Sqrt(max(0, squares/n-mean*mean)/n)
}

// bestEvaluation is the first of the best points.
func (t *trainer) bestEvaluation() (best int) {
	for i, p := range t.evaluations {
		if p.NDCG > t.evaluations[best].NDCG {
			best = i
		}
	}
	return best
}
