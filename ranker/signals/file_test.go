package signals_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

// load loads a file of a trained signal.
func load(t testing.TB, l *signals.Loader, kind string, data []byte) signals.TrainedSignal {
	t.Helper()
	s, err := l.Load(kind, data)
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return s.(signals.TrainedSignal)
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool {
		return math.Float32bits(x) == math.Float32bits(y)
	})
}

// A signal that was loaded from its file computes the same bits, and writes the same file.
func TestFilesKeepEveryBit(t *testing.T) {
	for round := range 20 {
		w := newWorld(uint64(100+round), []int{0, 1, 40}[round%3])
		in := w.input(20, 30, 40)
		var l signals.Loader
		for _, m := range w.trained() {
			file := m.Encode()
			again := load(t, &l, m.Kind(), file)
			if !sameBits(run(t, m, in), run(t, again, in)) {
				t.Errorf("round %d: %s computes other values after loading", round, m.Kind())
			}
			if !bytes.Equal(again.Encode(), file) {
				t.Errorf("round %d: %s writes another file after loading", round, m.Kind())
			}
		}
	}
}

// Signals that know the same items share one item table; a signal of other items has its own.
func TestItemTablesAreShared(t *testing.T) {
	w, other := newWorld(1, 30), newWorld(2, 31)
	var l signals.Loader
	first := load(t, &l, signals.KindCooccurrence, w.cooccurrence.Encode())
	second := load(t, &l, signals.KindResidualGP, w.residual.Encode())
	third := load(t, &l, signals.KindMatrixFactorization, other.factorization.Encode())
	items := second.(*signals.ResidualGP).Prior.Items
	if first.(*signals.Cooccurrence).Items != items {
		t.Error("two signals of the same items have two item tables")
	}
	if got := third.(*signals.MatrixFactorization).Items; got == items || got.Len() != 31 {
		t.Errorf("a signal of 31 other items has a table of %d", got.Len())
	}
}

// again returns a copy of the input without cached item indices.
func again(in *ranker.SignalInput) *ranker.SignalInput {
	return &ranker.SignalInput{
		Request:       in.Request,
		State:         in.State,
		ItemVectors:   in.ItemVectors,
		RecentVectors: in.RecentVectors,
		Query:         in.Query,
		QueryVector:   in.QueryVector,
	}
}

// A signal depends on its input alone, not on earlier calls or the order of a map. It does not
// change the input, and a candidate's row does not depend on the other candidates.
func TestTrainedSignalsArePure(t *testing.T) {
	w := newWorld(5, 40)
	w.infos["n0"] = ranker.NewItemInfo(ranker.Item{
		ID: "n0",
		Fields: map[string]ranker.FieldValue{
			"genre":   ranker.StringsValue(vocabulary[:4]),
			"mood":    ranker.StringsValue(vocabulary[2:6]),
			"setting": ranker.StringsValue(vocabulary[4:9]),
		},
	}, nil)
	in := w.input(46, 60, 80)
	for _, s := range w.trained() {
		columns := len(s.Columns())
		first := run(t, s, in)
		for range 50 { // a map has another order each time
			if !sameBits(run(t, s, again(in)), first) {
				t.Fatalf("%s: other bits for the same input", s.Kind())
			}
		}
		for i := range in.Request.Candidates {
			alone, state := again(in), *in.State
			state.Items, state.Counts = in.State.Items[i:i+1], in.State.Counts[i:i+1]
			alone.State = &state
			alone.Request = &ranker.Request{Candidates: in.Request.Candidates[i : i+1]}
			alone.ItemVectors = in.ItemVectors[i : i+1]
			if !sameBits(run(t, s, alone), first[i*columns:(i+1)*columns]) {
				t.Fatalf("%s: candidate %d has another row without the others", s.Kind(), i)
			}
		}
	}
}

// Requests share signals.
func TestTrainedSignalsAreSafeForConcurrentUse(t *testing.T) {
	w := newWorld(6, 40)
	in := w.input(40, 60, 80)
	for _, s := range w.trained() {
		want := run(t, s, in)
		var wait sync.WaitGroup
		for range 8 {
			input := again(in)
			wait.Go(func() {
				if !sameBits(run(t, s, input), want) {
					t.Errorf("%s: other bits in a concurrent call", s.Kind())
				}
			})
		}
		wait.Wait()
	}
}

// Without texts and fields, ResidualGP predicts known items by their learned vectors alone.
func TestResidualGPWithoutContent(t *testing.T) {
	w := newWorld(7, 20)
	features := &signals.ContentFeatures{Projection: &signals.Projection{}}
	prior := &signals.ContentPrior{
		Items: w.table, OutOfFold: w.floats(20), Features: features,
		MeanLogOdds: -1, PriorImpressions: 5,
	}
	kernel := signals.ItemKernel{
		Features: features, LearnedDim: 4,
		Weights: signals.KernelWeights{Learned: 1, Scale: 1},
	}
	g := &signals.ResidualGP{
		Prior: prior, LogOdds: w.floats(20),
		Kernel: signals.NewItemKernel(
			kernel, make([]*ranker.ItemInfo, 20), make([][]float32, 20)),
	}
	copy(g.Kernel.Dense, w.floats(80))
	in := w.input(20, 0, 60)
	got, known := run(t, g, in), 0
	for i := range in.Request.Candidates {
		learned, content, score := got[4*i], got[4*i+1], got[4*i+2]
		if score != score {
			t.Fatalf("candidate %d has no score", i)
		}
		if w.index(&in.Request.Candidates[i]) < 0 {
			continue
		}
		if known++; learned == 0 || content != 0 {
			t.Fatalf("candidate %+v: row %v", in.Request.Candidates[i], got[4*i:4*i+4])
		}
	}
	if known == 0 {
		t.Fatal("no candidate is known: this test checks nothing")
	}
	loaded := load(t, &signals.Loader{}, signals.KindResidualGP, g.Encode())
	if !sameBits(run(t, loaded, in), got) {
		t.Error("other values after loading")
	}
}

// checkValues returns an error for exported values that no trained signal may have. It finds them
// by reflection.
func checkValues(m signals.TrainedSignal) error {
	var check func(name string, v reflect.Value) error
	check = func(name string, v reflect.Value) error {
		switch x := v.Interface().(type) {
		case []float32:
			for _, f := range x {
				if f-f != 0 {
					return fmt.Errorf("%s holds %g", name, f)
				}
			}
		case float64:
			if x-x != 0 {
				return fmt.Errorf("%s is %g", name, x)
			}
		case []signals.NumberScale:
			for i := range x {
				if err := check(name+".Knots", reflect.ValueOf(x[i].Knots)); err != nil {
					return err
				}
			}
		case *signals.Projection, *signals.ContentFeatures, signals.ContentEffects:
			v = reflect.Indirect(v)
			for i := range v.NumField() {
				field := name + "." + v.Type().Field(i).Name
				if err := check(field, v.Field(i)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	v := reflect.Indirect(reflect.ValueOf(m))
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() {
			if err := check(f.Name, v.Field(i)); err != nil {
				return err
			}
		}
	}
	if c, ok := m.(*signals.Cooccurrence); ok {
		for i, n := range c.Neighbors {
			if int(n) >= c.Items.Len() || n < 0 || c.NextCounts[i] < 0 || c.JointCounts[i] < 0 {
				return fmt.Errorf("neighbor %d is %d", i, n)
			}
		}
	}
	return nil
}

// corrupt changes a file at a random position.
func corrupt(r *rand.Rand, file []byte) []byte {
	out := slices.Clone(file)
	at := r.IntN(len(out))
	switch r.IntN(6) {
	case 0:
		out[at] ^= 1 << r.IntN(8)
	case 1:
		return out[:at]
	case 2:
		return append(out[:at], out[min(len(out), at+1+r.IntN(16)):]...)
	case 3:
		return append(out, byte(r.Uint32()))
	case 4:
		if at = at &^ 3; at+4 <= len(out) {
			odd := []float32{
				float32(math.NaN()), float32(math.Inf(1)), -1, math.MaxFloat32,
				math.SmallestNonzeroFloat32,
			}
			binary.LittleEndian.PutUint32(out[at:], math.Float32bits(odd[r.IntN(len(odd))]))
		}
	default:
		if at+8 <= len(out) {
			odd := []uint64{0, 1, math.MaxUint64, math.MaxInt32, math.MaxInt32 + 1, 1 << 60}
			binary.LittleEndian.PutUint64(out[at:], odd[r.IntN(len(odd))])
		}
	}
	return out
}

// tryFile loads bytes that may be a file. If they are one, it checks that the values are valid,
// that the signal writes the same bytes, and that Compute does not panic.
func tryFile(t testing.TB, kind string, data []byte, in *ranker.SignalInput) (loaded bool) {
	m, err := new(signals.Loader).Load(kind, data)
	if err != nil {
		return false
	}
	trained, ok := m.(signals.TrainedSignal)
	if !ok {
		return false
	}
	if err := checkValues(trained); err != nil {
		t.Fatalf("%s was loaded: %v", kind, err)
	}
	if !bytes.Equal(trained.Encode(), data) {
		t.Fatalf("%s writes another file than it was loaded from", kind)
	}
	run(t, trained, again(in))
	return true
}

func TestCorruptFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	w := newWorld(9, 25)
	in := w.input(20, 30, 40)
	refused := 0
	for _, m := range w.trained() {
		file := m.Encode()
		if !tryFile(t, m.Kind(), file, in) {
			t.Fatalf("%s: an intact file was refused", m.Kind())
		}
		for range 600 {
			if !tryFile(t, m.Kind(), corrupt(r, file), in) {
				refused++
			}
		}
		for cut := range file {
			if tryFile(t, m.Kind(), file[:cut], in) {
				t.Fatalf("%s: loaded without its last %d bytes", m.Kind(), len(file)-cut)
			}
		}
	}
	if refused < 300 {
		t.Errorf("%d of 3000 corrupt files were refused, want 300 at least", refused)
	}
}

// Values that Encode never writes are refused, and the error says which.
func TestInvalidValues(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for name, c := range map[string]struct {
		change func(w *world) signals.TrainedSignal
		want   string
	}{
		"NaN log-odds": {func(w *world) signals.TrainedSignal {
			w.residual.LogOdds[3] = nan
			return w.residual
		}, "a value is not finite"},
		"an infinite vector": {func(w *world) signals.TrainedSignal {
			w.residual.Kernel.Dense[3] = inf
			return w.residual
		}, "a value is not finite"},
		"a negative weight of the fields": {func(w *world) signals.TrainedSignal {
			w.residual.Kernel.Weights.Fields[1] = -1
			return w.residual
		}, "a value is -1, the minimum is 0"},
		"no prior impressions": {func(w *world) signals.TrainedSignal {
			w.contentPrior.PriorImpressions = -1
			return w.contentPrior
		}, "-1 prior impressions"},
		"one value too many": {func(w *world) signals.TrainedSignal {
			w.residual.LogOdds = append(w.residual.LogOdds, 1)
			return w.residual
		}, "a list has 26 values, expected 25"},
		"half a projection": {func(w *world) signals.TrainedSignal {
			p := w.contentPrior.Features.Projection
			p.TextProjection = p.TextProjection[1:]
			return w.contentPrior
		}, "a text projection of 59 values does not fit dimension 5"},
		"unsorted field values": {func(w *world) signals.TrainedSignal {
			slices.Reverse(w.contentPrior.Features.Projection.FieldValues)
			return w.contentPrior
		}, "its field values are not sorted"},
		"an infinite intercept": {func(w *world) signals.TrainedSignal {
			w.contentPrior.Effects.Intercept = math.Inf(1)
			return w.contentPrior
		}, "a number is not finite"},
		"a negative count": {func(w *world) signals.TrainedSignal {
			w.cooccurrence.Counts[0] = -6
			return w.cooccurrence
		}, "a value is -6, the minimum is 0"},
		"an unknown neighbor": {func(w *world) signals.TrainedSignal {
			w.cooccurrence.Neighbors[0] = 25
			return w.cooccurrence
		}, "value 25 is not from 0 to 24"},
		"unsorted row offsets": {func(w *world) signals.TrainedSignal {
			w.cooccurrence.First[3] = w.cooccurrence.First[2] - 1
			return w.cooccurrence
		}, "its row offsets are not in ascending order"},
		"row offsets that end early": {func(w *world) signals.TrainedSignal {
			c := w.cooccurrence
			c.First[25]--
			c.First[24] = min(c.First[24], c.First[25])
			return c
		}, "its row offsets do not cover"},
		"a negative weight": {func(w *world) signals.TrainedSignal {
			w.factorization.Alpha = -1
			return w.factorization
		}, "dimension 16, alpha -1, lambda 1"},
		"a repeated item": {func(w *world) signals.TrainedSignal {
			w.factorization.Items.IDs()[3] = "k4"
			return w.factorization
		}, `item "k4" repeats`},
		"a token of weight 0": {func(*world) signals.TrainedSignal {
			return signals.NewLexical([]uint32{1, 2}, []float32{0, 1}, nil, 1, 1)
		}, "a value is 0, the minimum is 1e-12"},
		"unsorted tokens": {func(*world) signals.TrainedSignal {
			return signals.NewLexical([]uint32{2, 1}, []float32{1, 1}, nil, 1, 1)
		}, "its tokens are not in ascending order"},
	} {
		s := c.change(newWorld(11, 25))
		_, err := new(signals.Loader).Load(s.Kind(), s.Encode())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that contains %q", name, err, c.want)
		}
	}
	file := newWorld(1, 3).factorization.Encode()
	_, err := new(signals.Loader).Load(signals.KindResidualGP, file)
	const want = "signal residual: " +
		"malformed signal file; copy the bundle again or train a new one: " +
		`its kind is "factorization", expected "residual"`
	if err == nil || err.Error() != want {
		t.Errorf("a file of another kind: error %v, want %q", err, want)
	}
}

// An intact file of another format version is not called malformed: training again is the remedy.
func TestLoadOtherVersions(t *testing.T) {
	file := newWorld(1, 3).residual.Encode()
	at := len("RLMT") + 8 + len(signals.KindResidualGP) // after the magic and the kind
	for version, want := range map[byte]string{
		2: "an older version of relish wrote; this one reads 4: train a new bundle",
		5: "a newer version of relish wrote; this one reads 4: use a newer relish",
	} {
		file[at] = version
		_, err := new(signals.Loader).Load(signals.KindResidualGP, file)
		if err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "malformed") {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// Files of the version before the bounds of stuffed content are read, and bound nothing.
func TestLoadEarlierVersions(t *testing.T) {
	w := newWorld(1, 3)
	features := w.residual.Prior.Features
	prior := &signals.ContentPrior{
		Items: w.contentPrior.Items, OutOfFold: w.contentPrior.OutOfFold, Features: features,
		Effects: w.contentPrior.Effects,
	}
	files := func(limits, means []float32) map[string][]byte {
		features.FieldLimits = limits
		tokens := signals.NewLexical([]uint32{1, 2}, []float32{3, 4}, means, 5, 6)
		return map[string][]byte{
			signals.KindResidualGP:   w.residual.Encode(),
			signals.KindContentPrior: prior.Encode(),
			signals.KindLexical:      tokens.Encode(),
		}
	}
	bounded, unbounded := files(features.FieldLimits, []float32{7, 8}), files(nil, nil)
	for kind, version := range map[string]byte{
		signals.KindResidualGP: 3, signals.KindContentPrior: 3, signals.KindLexical: 1,
	} {
		file := slices.Clone(unbounded[kind])
		at := 0 // of the number of bounds
		for file[at] == bounded[kind][at] {
			at++
		}
		file = slices.Delete(file, at, at+8) // earlier versions do not have it
		file[len("RLMT")+8+len(kind)] = version
		signal, err := new(signals.Loader).Load(kind, file)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if !bytes.Equal(signal.(signals.TrainedSignal).Encode(), unbounded[kind]) {
			t.Errorf("%s: a file of version %d is read as something else", kind, version)
		}
	}
}

func FuzzLoad(f *testing.F) {
	w := newWorld(12, 6)
	in := w.input(12, 20, 20)
	r := rand.New(rand.NewPCG(12, 1))
	kinds := signals.Kinds()
	for _, m := range w.trained() {
		kind := uint8(slices.Index(kinds, m.Kind()))
		f.Add(kind, m.Encode())
		for range 8 {
			f.Add(kind, corrupt(r, m.Encode()))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		tryFile(t, kinds[int(kind)%len(kinds)], data, in)
	})
}

// BenchmarkTrainedSignals has the dimensions that training uses. "cold": every candidate is a cold
// start. "kept": the user has done nothing since their last ranking.
func BenchmarkTrainedSignals(b *testing.B) {
	w := sizedWorld(13, 4000, production)
	for _, n := range []int{100, 1000} {
		in := w.input(n, 50, 100)
		for i := range in.Request.Candidates {
			in.Request.Candidates[i].ColdStart = false
		}
		cold := *in
		cold.Request = &ranker.Request{Candidates: slices.Clone(in.Request.Candidates)}
		for i := range cold.Request.Candidates {
			cold.Request.Candidates[i].ColdStart = true
		}
		kept := *in
		kept.Request = &ranker.Request{User: "u", Candidates: in.Request.Candidates}
		kept.UseHistory(ranker.NewHistoryCache(ranker.DefaultHistoryBytes))
		for _, m := range w.trained() {
			benchmark(b, fmt.Sprintf("%s/%d", m.Kind(), n), m, in, w)
			benchmark(b, fmt.Sprintf("%s/kept/%d", m.Kind(), n), m, &kept, w)
		}
		benchmark(b, fmt.Sprintf("residual/cold/%d", n), w.residual, &cold, w)
		b.Run(fmt.Sprintf("indices/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				(&ranker.SignalInput{Request: in.Request, State: in.State}).ItemIndices(w.table)
			}
		})
	}
}

func benchmark(
	b *testing.B,
	name string,
	m signals.TrainedSignal,
	in *ranker.SignalInput,
	w *world,
) {
	b.Run(name, func(b *testing.B) {
		out := make([]float32, len(in.Request.Candidates)*len(m.Columns()))
		in.ItemIndices(w.table) // signals of one bundle share the cached indices
		b.ReportAllocs()
		for b.Loop() {
			if err := m.Compute(b.Context(), in, out); err != nil {
				b.Fatal(err)
			}
		}
	})
}
