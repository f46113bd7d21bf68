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
	"relish/ranker"
	"relish/training/signals"
)

// Input is what Train fine-tunes, and on what.
type Input struct {
	Runtime *onnx.Runtime
	Backend backends.Backend   // runs the training
	Files   *onnx.EncoderFiles // the pretrained encoder with 32-bit weights
	Corpus  *signals.Corpus    // without Vectors; Users may be empty unless for NextItem
	// HasNewEvents says for each user whether they have events that the encoder was not trained on.
	// Such users then make up half of a batch's histories; the other half comes from all users, so
	// that the encoder does not forget older events. nil treats all users alike.
	HasNewEvents []bool
	// Pairs are what Pairs trains on, and nothing else; the other objectives ignore them.
	Pairs []Pair
}

// Pair is a question and what was chosen for it.
type Pair struct {
	Question string
	Chosen   *ranker.ItemInfo
	// Others were offered beside Chosen; nil, or nil elements, where nothing is known.
	Others []*ranker.ItemInfo
}

// Train fine-tunes an encoder. It ends after Config.MaxSteps steps, at Config.TimeLimit, after
// Config.EarlyStoppingEvals evaluations without a new best, or with the error of ctx. It keeps the
// weights of the last evaluation that was not clearly worse than the best one.
//
// It returns ErrTooLittleData if there is too little to train on, and an error if the loss becomes
// NaN or infinite. On a CPU, the same input, configuration and machine give the same weights,
// unless the time limit ends the training.
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

// trainer is one run of Train.
type trainer struct {
	in           *Input
	cfg          *Config
	start        time.Time
	corpus       *corpus
	net          *network
	encoder      *networkEncoder // uses the averaged weights
	sampler      *sampler
	validator    *validator
	stepExec     *mlcontext.Exec
	learningRate *mlcontext.Variable
	steps        int  // steps made so far
	timeLimited  bool // the time limit has ended the training
	evaluations  []Evaluation
	bestNDCG     []float64            // by case: NDCG of the best evaluation
	keptWeights  map[string][]float32 // averaged weights to export, nil before the first evaluation
	keptStep     int                  // steps at which keptWeights were taken
}

// prepare creates everything that training needs. The caller must call free, also after an error.
func (t *trainer) prepare(ctx context.Context) (err error) {
	in, cfg := t.in, t.cfg
	if t.corpus, err = buildCorpus(in, cfg); err != nil {
		return err
	}
	c := t.corpus
	t.validator = newValidator(c, cfg)
	if c.countPairs() < minPairs || len(t.validator.stoppingCases) < minCases ||
		len(t.validator.finalCases) < minCases {
		what := "steps from one text to the next, and %d to held-out texts"
		if cfg.Objective == Pairs {
			what = "pairs of question and answer, and %d with held-out questions"
		}
		return fmt.Errorf(
			"%w: %d "+what+"; at least %d and %d are needed", ErrTooLittleData, c.countPairs(),
			len(t.validator.stoppingCases)+len(t.validator.finalCases), minPairs, 2*minCases)
	}
	if t.net, err = openNetwork(in.Files.Model); err != nil {
		return err
	}
	if cfg.Layers > t.net.layers {
		return fmt.Errorf("finetune: cannot train %d layers; the encoder has %d",
			cfg.Layers, t.net.layers)
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
	if t.encoder, err = newNetworkEncoder(in.Backend, t.net, s, c, lower); err != nil {
		return err
	}
	return t.compile()
}

// Least amounts of data that give a meaningful result. Package pipeline decides how much data is
// worth the training time.
const (
	minPairs = 200
	minCases = 20
)

// firstTrainedLayer returns the number of the lowest trained layer.
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
	step := func(ctx *mlcontext.Context, in []*Node) *Node {
		g := in[0].Graph()
		ctx.SetTraining(g, true)
		vectors := net.vectors(&input{in[0], in[1], in[2], in[3]}, false)
		loss := infoNCE(vectors, in[4], in[5], in[6], t.cfg.Temperature)
		gradients := ctx.BuildTrainableVariablesGradientsGraph(loss)
		gradients = clipGradients(gradients, t.cfg.MaxGradNorm)
		adam.UpdateGraphWithGradients(ctx, gradients, dtypes.Float32)
		net.updateAverages(g, t.cfg.EMADecay)
		return loss
	}
	var err error
	t.stepExec, err = mlcontext.NewExec(t.in.Backend, net.ctx, step)
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
	norm := Sqrt(AddScalar(sum, 1e-12))
	scale := MinScalar(Div(Scalar(sum.Graph(), dtypes.Float32, limit), norm), 1)
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
	if t.encoder != nil {
		t.encoder.free()
	}
	if t.net != nil {
		t.net.finalize()
	}
}

// run trains and evaluates in turn until a stopping rule applies.
func (t *trainer) run(ctx context.Context) error {
	loss := math.NaN()
	for {
		if err := t.evaluate(ctx, loss); err != nil {
			return err
		}
		if t.steps >= t.cfg.MaxSteps || t.cfg.EarlyStoppingEvals > 0 &&
			len(t.evaluations)-1-t.bestEvaluation() >= t.cfg.EarlyStoppingEvals {
			return nil
		}
		if t.timeLimited = t.timeLimited || t.outOfTime(); t.timeLimited {
			return nil
		}
		sum := 0.0
		first := t.steps
		last := min(first+t.cfg.EvalEvery, t.cfg.MaxSteps)
		for t.steps < last {
			if t.steps > first && t.outOfTime() {
				t.timeLimited = true
				break
			}
			stepLoss, err := t.trainStep(ctx)
			if err != nil {
				return err
			}
			sum += stepLoss
		}
		loss = sum / float64(t.steps-first)
	}
}

// outOfTime reports whether the time limit leaves no time for another evaluation and the final
// measurement.
func (t *trainer) outOfTime() bool {
	return t.cfg.TimeLimit > 0 &&
		time.Since(t.start)+t.validator.lastDuration*(1+finalCostEvals) > t.cfg.TimeLimit
}

// trainStep makes one step and returns its loss.
func (t *trainer) trainStep(ctx context.Context) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	rate := t.cfg.LearningRate * min(1, float64(t.steps+1)/float64(max(1, t.cfg.WarmUpSteps)))
	if err := t.learningRate.SetValue(tensors.FromScalar(float32(rate))); err != nil {
		return 0, fmt.Errorf("finetune: %w", err)
	}
	out, err := t.stepExec.Exec(t.sampler.nextBatch().tensors()...)
	if err != nil {
		return 0, fmt.Errorf("finetune: %w", err)
	}
	t.steps++
	loss := float64(tensors.ToScalar[float32](out[0]))
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, fmt.Errorf(
			"finetune: the loss became %v at step %d; try a learning rate below %v",
			loss, t.steps, t.cfg.LearningRate)
	}
	return loss, nil
}

// evaluate scores the validator's stopping cases. It keeps the averaged weights unless they are
// clearly worse than the best so far, by more than one standard error of the difference. The best
// of several evaluations is partly luck, because each is a sample. Later weights have seen more of
// the texts, so they are preferred within the noise.
func (t *trainer) evaluate(ctx context.Context, loss float64) error {
	start := time.Now()
	ndcg, err := scoreCases(ctx, t.validator.stoppingCases, t.encoder.encode, t.cfg)
	if err != nil {
		return err
	}
	t.validator.lastDuration = time.Since(start)
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

// bestEvaluation returns the index of the first evaluation with the best NDCG.
func (t *trainer) bestEvaluation() (best int) {
	for i, p := range t.evaluations {
		if p.NDCG > t.evaluations[best].NDCG {
			best = i
		}
	}
	return best
}
