package training

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"relish/features"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/examination"
	"relish/training/gbdt"
	"relish/training/replay"
)

// DatasetFile is the name of the dataset in Inputs.WorkDir.
const DatasetFile = "dataset.arrow"

// dataset is the feature matrix of the scorer's lists on disk.
type dataset struct {
	path   string
	width  int         // feature columns of a candidate
	newest []probeList // see addProbe
}

// ReplayedState implements ranker.StateReader on a state that a replay fills.
type ReplayedState struct{ State *features.State }

// Read implements ranker.StateReader.
func (r ReplayedState) Read(
	_ context.Context,
	q *ranker.FeatureQuery,
) (*ranker.RequestState, error) {
	return r.State.Read(q)
}

// writeDataset replays the log and writes each list's matrix, with the state just before the list
// was shown and with cross-fitted signals.
func writeDataset(
	ctx context.Context, in *Inputs, l *trainingLists, f *fittedSignals,
) (_ *dataset, err error) {
	if err := os.MkdirAll(in.WorkDir, 0o755); err != nil {
		return nil, err
	}
	out := &dataset{
		path: filepath.Join(in.WorkDir, DatasetFile), width: len(f.schema.Columns()),
	}
	w, err := replay.CreateDataset(out.path, f.schema.Columns())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	state := features.New(in.State)
	state.OpenTable = in.OpenTable
	recorder := &columnRecorder{StateReader: ReplayedState{state}}
	pipeline, err := ranker.New(ranker.Options{
		Features: recorder, Vectors: in.Vectors, TextSpec: in.TextSpec,
		Models: scorer.SingleModel(&ranker.Model{}),
	})
	if err != nil {
		return nil, err
	}
	opt := replay.WalkOptions{
		Progress: func(done, total int) { in.progress("replay", done, total) },
	}
	return out, l.log.Walk(ctx, in.Source, state, l.lists, opt, func(x *replay.Example) error {
		// Each list has its own random numbers, so that they do not depend on the other lists.
		rng := rand.New(rand.NewPCG(in.Config.Seed^listStream, x.Seq))
		positions := shuffleItems(x, rng)
		maskBehaviour(x, *in.Config.Dropout, rng)
		x.Request.Deadline = replay.OfflineDeadline
		m, signalInput, err := pipeline.Matrix(ctx, f.modelFor(x.User), x.Request)
		if err != nil {
			return err
		}
		out.addProbe(signalInput, recorder.columns)
		return w.Add(x, positions, m)
	})
}

// shuffleItems puts the items of a list in random order, because a trainer may prefer the first of
// equal ones. It returns the positions where they were shown, -1 in a sampled list.
func shuffleItems(x *replay.Example, rng *rand.Rand) []int32 {
	positions := make([]int32, len(x.Items))
	list := *x.RankingList
	x.RankingList = &list
	x.Items, x.Gains = slices.Clone(x.Items), slices.Clone(x.Gains)
	for i := range positions {
		if positions[i] = int32(i); !x.Logged {
			positions[i] = -1
		}
	}
	rng.Shuffle(len(positions), func(i, j int) {
		positions[i], positions[j] = positions[j], positions[i]
		x.Items[i], x.Items[j] = x.Items[j], x.Items[i]
		x.Gains[i], x.Gains[j] = x.Gains[j], x.Gains[i]
		candidates := x.Request.Candidates
		candidates[i], candidates[j] = candidates[j], candidates[i]
	})
	return positions
}

// unknownUser is a user that no log contains: ids have no control characters.
const unknownUser = "\x00"

// maskBehaviour hides behaviour in a random share of the lists: of half the items in one half of
// them, of the user in the other half. The scorer thus learns to rank without behaviour.
func maskBehaviour(x *replay.Example, dropout float64, rng *rand.Rand) {
	r := rng.Float64() / max(1e-9, dropout)
	lists := [][]ranker.Candidate{x.Request.Candidates}
	if x.Request.List != nil {
		lists = append(lists, x.Request.List.Others)
	}
	for _, candidates := range lists {
		for i := range candidates {
			candidates[i].ColdStart = r < 0.5 && rng.Float64() < 0.5
		}
	}
	if r >= 0.5 && r < 1 {
		x.Request.User = unknownUser
	}
}

// columnRecorder keeps the raw columns of the latest read, because the pipeline changes them in
// place.
type columnRecorder struct {
	ranker.StateReader
	columns []float32
}

// Read implements ranker.StateReader.
func (r *columnRecorder) Read(
	ctx context.Context,
	q *ranker.FeatureQuery,
) (*ranker.RequestState, error) {
	s, err := r.StateReader.Read(ctx, q)
	if err == nil {
		r.columns = slices.Clone(s.Columns)
	}
	return s, err
}

// The uses of lists.
const (
	forTraining = iota
	forValidation
)

// read reads the lists for which keep returns true, in the form that the booster takes.
//
// If positions explain clicks, the trees are trained beside positionOffsets. The validation metric
// reads gains that positionWeights corrects.
func (d *dataset) read(
	in *Inputs,
	l *trainingLists,
	use int,
	keep func(seq uint64) bool,
) (*gbdt.Dataset, error) {
	rows, err := replay.ReadDataset(d.path, keep)
	if err != nil {
		return nil, err
	}
	out := &gbdt.Dataset{
		Rows: rows.Cells, NumFeatures: rows.Width, Labels: rows.Gains, Groups: rows.ListSizes,
	}
	if curve := l.curve(); curve != nil {
		if use == forTraining {
			out.Offsets = positionOffsets(rows, curve)
		} else {
			out.Labels, out.Weights = positionWeights(rows, curve)
		}
	}
	if in.Config.HalfLifeDays > 0 {
		weights := ageWeights(rows, l.log, in.Config.HalfLifeDays)
		for i := range out.Weights {
			weights[i] *= out.Weights[i]
		}
		out.Weights = weights
	}
	return out, nil
}

// positionOffsets returns what the position of each row adds to the log-odds of a click: the
// logarithm of its examination probability, 0 in a sampled list. The trees then explain the rest.
func positionOffsets(rows *replay.Rows, curve *examination.Curve) []float64 {
	out := make([]float64, len(rows.Positions))
	for i, position := range rows.Positions {
		out[i] = math.Log(curve.Examination(int(position)))
	}
	return out
}

// weightSteps is the number of steps in which the weight of a position doubles. Few different gains
// keep the trainer's table of gains small.
const weightSteps = 4

// positionWeights returns gains that are divided by the examination probability of their position,
// and a weight for each row. The weight is that of the whole list, since the trainer measures an
// order relative to the list's best one: a list whose only click is at a rarely examined position
// would otherwise count like any other.
func positionWeights(rows *replay.Rows, curve *examination.Curve) (gains, weights []float32) {
	first := 0
	for _, size := range rows.ListSizes {
		plain, corrected := float32(0), float32(0)
		for row := first; row < first+int(size); row++ {
			steps := math.Round(weightSteps * math.Log2(curve.Weight(int(rows.Positions[row]))))
			gain := rows.Gains[row] * float32(math.Exp2(steps/weightSteps))
			plain, corrected = plain+rows.Gains[row], corrected+gain
			gains = append(gains, gain)
		}
		for range size {
			weights = append(weights, corrected/plain)
		}
		first += int(size)
	}
	return gains, weights
}

const msPerDay = 24 * 60 * 60 * 1000

// ageWeights returns a weight for each row that halves with every half-life of the list's age.
func ageWeights(rows *replay.Rows, log *replay.Log, halfLifeDays float64) []float32 {
	times := map[uint64]int64{} // by sequence of the impression, or of a sampled list's interaction
	for i := range log.Lists {
		times[log.Lists[i].Seq] = log.Lists[i].Time
	}
	for i := range log.Interactions {
		times[log.Interactions[i].Seq] = log.Interactions[i].Time
	}
	out := make([]float32, 0, len(rows.Gains))
	for i, seq := range rows.ListSeqs {
		age := float64(log.To-times[seq]) / msPerDay
		weight := float32(max(1e-3, math.Exp2(-age/halfLifeDays)))
		for range rows.ListSizes[i] {
			out = append(out, weight)
		}
	}
	return out
}
