package encoder

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
	"relish/training/match"
)

// Input is what an encoder is tuned on.
type Input struct {
	Runtime *onnx.Runtime
	Backend backends.Backend // that trains
	Files   *onnx.Files      // the encoder, with 32-bit weights
	Corpus  *match.Corpus    // Vectors are not read; Users may be empty for the objective TitleText
	// Fresh says by user whether he did something that the encoder has not learned from: half of the lessons are then of
	// such users, and half of all, so that the old is not forgotten. nil: all are alike.
	Fresh []bool
}

// Tune tunes an encoder. It ends after Config.Steps, when Config.TimeLimit is over, when the guard has not become better
// for Config.Patience looks, or with ctx's error; the weights are those of the last look that was not clearly worse than
// the best. A loss that is not finite is an error, and so is too little to learn from (ErrFew). With a backend of one
// thread the same input and configuration give the same weights, unless the time limit bites.
func Tune(ctx context.Context, in Input, cfg Config) (*Result, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	t := &tuner{in: &in, cfg: &cfg, start: time.Now()}
	defer t.close()
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
	res.Took = time.Since(t.start)
	return res, nil
}

// tuner is one tuning at work.
type tuner struct {
	in      *Input
	cfg     *Config
	start   time.Time
	corpus  *corpus
	net     *network
	coder   *coder // by the averaged weights
	lessons *lessons
	guard   *guard
	step    *mlcontext.Exec
	rate    *mlcontext.Variable
	made    int // steps
	curve   []Point
	best    []float64            // the best look's NDCG, by case
	kept    map[string][]float32 // the averaged weights that are kept, nil before the first look
	keptAt  int                  // step
}

// prepare makes all that training needs. What it has made, close frees, also where it fails.
func (t *tuner) prepare(ctx context.Context) (err error) {
	in, cfg := t.in, t.cfg
	if t.corpus, err = read(in, cfg); err != nil {
		return err
	}
	c := t.corpus
	t.guard = newGuard(c, cfg)
	if c.pairs() < fewestPairs || len(t.guard.watch) < fewestCases || len(t.guard.judge) < fewestCases {
		return fmt.Errorf("%w: %d steps from one text to the next, and %d that lead to texts held out for the comparison; at least %d and %d are needed",
			ErrFew, c.pairs(), len(t.guard.watch)+len(t.guard.judge), fewestPairs, 2*fewestCases)
	}
	if t.net, err = open(in.Files.Model); err != nil {
		return err
	}
	if cfg.Layers > t.net.layers {
		return fmt.Errorf("encoder: %d layers are to be trained, and it has %d", cfg.Layers, t.net.layers)
	}
	s := shape{rows: cfg.Slots / c.length, length: c.length, dim: t.net.dim, first: in.Files.Pooling == "cls"}
	s.texts = s.slots() / slotsPerText
	if err := t.findHeads(ctx, s); err != nil {
		return err
	}
	lower, err := t.lower(ctx, s)
	if err != nil {
		return err
	}
	t.net.prepare(c.vocab, t.first(), cfg.Rank, cfg.Seed)
	t.net.average()
	t.lessons = newLessons(c, cfg, s, lower)
	if t.coder, err = newCoder(in.Backend, t.net, s, c, lower); err != nil {
		return err
	}
	return t.compile()
}

// What tuning needs at the very least to say anything: see release for what it needs to be worth its time.
const (
	fewestPairs = 200
	fewestCases = 20
)

// first is the first layer that is trained.
func (t *tuner) first() int {
	if t.cfg.Layers == 0 {
		return 0
	}
	return t.net.layers - t.cfg.Layers
}

func (t *tuner) compile() error {
	net := t.net
	t.rate = optimizers.LearningRateVarWithValue(net.ctx, dtypes.Float32, t.cfg.LearningRate)
	adam := optimizers.Adam().Epsilon(1e-8).Done().(interface {
		UpdateGraphWithGradients(ctx *mlcontext.Context, grads []*Node, lossDType dtypes.DType)
	})
	var err error
	t.step, err = mlcontext.NewExec(t.in.Backend, net.ctx, func(ctx *mlcontext.Context, in []*Node) *Node {
		g := in[0].Graph()
		ctx.SetTraining(g, true)
		vectors := net.vectors(&input{in[0], in[1], in[2], in[3]}, false)
		l := loss(vectors, in[4], in[5], in[6], t.cfg.Temperature)
		adam.UpdateGraphWithGradients(ctx, clip(ctx.BuildTrainableVariablesGradientsGraph(l), t.cfg.Clip), dtypes.Float32)
		net.moveAverages(g, t.cfg.Averaging)
		return l
	})
	return err
}

// clip scales the gradients so that their common norm is at most limit.
func clip(grads []*Node, limit float64) []*Node {
	var sum *Node
	for _, g := range grads {
		if s := ReduceAllSum(Square(g)); sum == nil {
			sum = s
		} else {
			sum = Add(sum, s)
		}
	}
	scale := MinScalar(Div(Scalar(sum.Graph(), dtypes.Float32, limit), Sqrt(AddScalar(sum, 1e-12))), 1)
	out := make([]*Node, len(grads))
	for i, g := range grads {
		out[i] = Mul(g, scale)
	}
	return out
}

func (t *tuner) close() {
	if t.step != nil {
		t.step.Finalize()
	}
	if t.coder != nil {
		t.coder.close()
	}
	if t.net != nil {
		t.net.drop()
	}
}

// run trains, with a look at the guard now and then.
func (t *tuner) run(ctx context.Context) error {
	loss, at := math.NaN(), 0
	for {
		if err := t.look(ctx, loss); err != nil {
			return err
		}
		if t.made >= t.cfg.Steps || t.late() || t.cfg.Patience > 0 && len(t.curve)-1-t.bestLook() >= t.cfg.Patience {
			return nil
		}
		sum := 0.0
		at = t.made
		for t.made < min(at+t.cfg.Every, t.cfg.Steps) && (t.made == at || !t.late()) {
			l, err := t.train(ctx)
			if err != nil {
				return err
			}
			sum += l
		}
		loss = sum / float64(t.made-at)
	}
}

// late reports whether the time is over, with what the last look and the end cost.
func (t *tuner) late() bool {
	return t.cfg.TimeLimit > 0 && time.Since(t.start)+t.guard.took*(1+judgeLooks) > t.cfg.TimeLimit
}

// train makes one step.
func (t *tuner) train(ctx context.Context) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	rate := t.cfg.LearningRate * min(1, float64(t.made+1)/float64(max(1, t.cfg.WarmUp)))
	if err := t.rate.SetValue(tensors.FromScalar(float32(rate))); err != nil {
		return 0, fmt.Errorf("encoder: %w", err)
	}
	out, err := t.step.Exec(t.lessons.next().tensors()...)
	if err != nil {
		return 0, fmt.Errorf("encoder: %w", err)
	}
	t.made++
	loss := float64(tensors.ToScalar[float32](out[0]))
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, fmt.Errorf("encoder: the loss became %v at step %d; a smaller learning rate than %v may help", loss, t.made, t.cfg.LearningRate)
	}
	return loss, nil
}

// look asks the guard, and keeps the averaged weights unless they are clearly worse than the best so far: by more than one
// standard error of the difference. A look is a sample, so that the best of several looks is partly luck, while what has been
// trained longer has seen more of the texts that the guard leaves out.
func (t *tuner) look(ctx context.Context, loss float64) error {
	began := time.Now()
	ndcg, err := score(ctx, t.guard.watch, t.coder.encode, t.cfg)
	if err != nil {
		return err
	}
	t.guard.took = time.Since(began)
	p := Point{Step: t.made, Loss: loss, NDCG: stats.Mean(ndcg), Took: time.Since(t.start)}
	t.curve = append(t.curve, p)
	if t.cfg.Progress != nil {
		t.cfg.Progress(p)
	}
	if t.bestLook() == len(t.curve)-1 {
		t.best = ndcg
	}
	if !clearlyWorse(ndcg, t.best) {
		t.kept, t.keptAt = t.net.averages(), t.made
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

// bestLook is the first of the best points.
func (t *tuner) bestLook() (best int) {
	for i, p := range t.curve {
		if p.NDCG > t.curve[best].NDCG {
			best = i
		}
	}
	return best
}
