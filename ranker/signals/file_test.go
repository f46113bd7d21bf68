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
	"testing"

	"relish/ranker"
	"relish/ranker/signals"
)

func open(t testing.TB, o *signals.Loader, kind string, data []byte) signals.TrainedSignal {
	t.Helper()
	m, err := o.Load(kind, data)
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return m.(signals.TrainedSignal)
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// A matcher that went through its file gives the same bits, and the same file again.
func TestFilesKeepEveryBit(t *testing.T) {
	for round := range 20 {
		w := newWorld(uint64(100+round), []int{0, 1, 40}[round%3])
		in := w.input(20, 30, 40)
		var o signals.Loader
		for _, m := range w.all() {
			file := m.Encode()
			again := open(t, &o, m.Kind(), file)
			if !sameBits(run(t, m, in), run(t, again, in)) {
				t.Errorf("round %d: %s ranks differently after its file", round, m.Kind())
			}
			if !bytes.Equal(again.Encode(), file) {
				t.Errorf("round %d: %s: another file", round, m.Kind())
			}
		}
	}
}

// Matchers of one bundle know the same items and hold one table of them; those of another have their own.
func TestItemTablesAreShared(t *testing.T) {
	w, other := newWorld(1, 30), newWorld(2, 31)
	var o signals.Loader
	pairs := open(t, &o, signals.KindCooccurrence, w.pairs.Encode()).(*signals.Cooccurrence)
	taste := open(t, &o, signals.KindResidualGP, w.taste.Encode()).(*signals.ResidualGP)
	if pairs.Items != taste.Items {
		t.Error("two matchers of the same items hold two tables of them")
	}
	if next := open(t, &o, signals.KindMatrixFactorization, other.factor.Encode()).(*signals.MatrixFactorization); next.Items == taste.Items || next.Items.Len() != 31 {
		t.Error("a matcher of other items was given these")
	}
}

// What a matcher gives depends on its input alone: not on what it did before, nor on the order of a map. The input is
// left alone, and a candidate's row does not depend on the others.
func TestLearnedMatchersArePure(t *testing.T) {
	w := newWorld(5, 40)
	w.infos["n0"] = ranker.NewItemInfo(ranker.Item{ID: "n0", Fields: map[string]ranker.FieldValue{
		"genre": ranker.StringsValue(vocabulary[:4]), "mood": ranker.StringsValue(vocabulary[2:6]), "place": ranker.StringsValue(vocabulary[4:9])}}, nil)
	in := w.input(46, 60, 80)
	for _, m := range w.all() {
		columns := len(m.Columns())
		first := run(t, m, in)
		for range 50 { // a map's order is another each time
			fresh := &ranker.SignalInput{Request: in.Request, State: in.State, ItemVectors: in.ItemVectors, RecentVectors: in.RecentVectors, Query: in.Query}
			if !sameBits(run(t, m, fresh), first) {
				t.Fatalf("%s: other bits for the same input", m.Kind())
			}
		}
		for i := range in.Request.Candidates {
			alone := &ranker.SignalInput{Request: &ranker.Request{Candidates: in.Request.Candidates[i : i+1]}, ItemVectors: in.ItemVectors[i : i+1],
				RecentVectors: in.RecentVectors, Query: in.Query}
			state := *in.State
			state.Items = in.State.Items[i : i+1]
			alone.State = &state
			if !sameBits(run(t, m, alone), first[i*columns:(i+1)*columns]) {
				t.Fatalf("%s: candidate %d has another row without the others", m.Kind(), i)
			}
		}
	}
}

// Matchers are shared by requests.
func TestLearnedMatchersAreSafeForConcurrentUse(t *testing.T) {
	w := newWorld(6, 40)
	in := w.input(40, 60, 80)
	for _, m := range w.all() {
		want := run(t, m, in)
		got := make([][]float32, 8)
		done := make(chan int)
		for g := range got {
			mine := &ranker.SignalInput{Request: in.Request, State: in.State, ItemVectors: in.ItemVectors, RecentVectors: in.RecentVectors, Query: in.Query}
			go func() {
				got[g] = run(t, m, mine)
				done <- g
			}()
		}
		for range got {
			<-done
		}
		for g := range got {
			if !sameBits(got[g], want) {
				t.Errorf("%s: other bits beside others", m.Kind())
			}
		}
	}
}

// A catalogue without texts and fields has nowhere to place items; taste goes by what was learned alone.
func TestTasteWithoutContent(t *testing.T) {
	w := newWorld(7, 20)
	w.taste.Content, w.taste.ContentVectors, w.taste.ContentToLearned = &signals.Projection{}, nil, nil
	in := w.input(20, 0, 60)
	got, there := run(t, w.taste, in), 0
	for i := range in.Request.Candidates {
		known := w.number(&in.Request.Candidates[i]) >= 0
		if learned := got[3*i]; (learned == learned) != known || got[3*i+1] == got[3*i+1] {
			t.Fatalf("candidate %+v: %v", in.Request.Candidates[i], got[3*i:3*i+3])
		}
		if known {
			there++
		}
	}
	if there == 0 {
		t.Fatal("no candidate was known")
	}
	if again := open(t, &signals.Loader{}, signals.KindResidualGP, w.taste.Encode()); !sameBits(run(t, again, in), got) {
		t.Error("its file ranks differently")
	}
}

// plausible reports what no matcher's table may hold, found by reflection in all its exported parts.
func plausible(m signals.TrainedSignal) error {
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
		case *signals.Projection:
			for i := range v.Elem().NumField() {
				if err := check(name+"."+v.Elem().Type().Field(i).Name, v.Elem().Field(i)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	v := reflect.ValueOf(m).Elem()
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
				return fmt.Errorf("neighbour %d is %d", i, n)
			}
		}
	}
	return nil
}

// spoil changes a file somewhere.
func spoil(r *rand.Rand, file []byte) []byte {
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
			odd := []float32{float32(math.NaN()), float32(math.Inf(1)), -1, math.MaxFloat32, math.SmallestNonzeroFloat32}
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

// tryFile opens what may be a file; if it is one, its values are plausible and it ranks without a panic.
func tryFile(t testing.TB, kind string, data []byte, in *ranker.SignalInput) (opened bool) {
	m, err := new(signals.Loader).Load(kind, data)
	if err != nil {
		return false
	}
	learned, ok := m.(signals.TrainedSignal)
	if !ok {
		return false
	}
	if err := plausible(learned); err != nil {
		t.Fatalf("%s was opened: %v", kind, err)
	}
	if !bytes.Equal(learned.Encode(), data) {
		t.Fatalf("%s was read as something else than it is", kind)
	}
	run(t, learned, &ranker.SignalInput{Request: in.Request, State: in.State, ItemVectors: in.ItemVectors, Query: in.Query})
	return true
}

func TestSpoiltFilesAreRefusedOrHarmless(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	w := newWorld(9, 25)
	in := w.input(20, 30, 40)
	refused := 0
	for _, m := range w.all() {
		file := m.Encode()
		if !tryFile(t, m.Kind(), file, in) {
			t.Fatalf("%s: a sound file was refused", m.Kind())
		}
		for range 600 {
			if !tryFile(t, m.Kind(), spoil(r, file), in) {
				refused++
			}
		}
		for cut := range file {
			if tryFile(t, m.Kind(), file[:cut], in) {
				t.Fatalf("%s: opened without its last %d bytes", m.Kind(), len(file)-cut)
			}
		}
	}
	if refused < 300 {
		t.Errorf("%d files were refused", refused)
	}
}

// What makes no sense is refused, and the error says what it is.
func TestFilesThatMakeNoSense(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for name, c := range map[string]struct {
		file func(w *world) signals.TrainedSignal
		err  string
	}{
		"a strength that is no number": {func(w *world) signals.TrainedSignal { w.taste.LogOdds[3] = nan; return w.taste }, "not finite"},
		"an infinite place":            {func(w *world) signals.TrainedSignal { w.taste.LearnedVectors[3] = inf; return w.taste }, "not finite"},
		"no learned dimension": {func(w *world) signals.TrainedSignal {
			w.taste.Dim, w.taste.LearnedVectors, w.taste.ContentToLearned = 0, nil, nil
			return w.taste
		}, "not what"},
		"no noise":         {func(w *world) signals.TrainedSignal { w.taste.ContentNoise = 0; return w.taste }, "not what"},
		"an item too many": {func(w *world) signals.TrainedSignal { w.taste.LogOdds = append(w.taste.LogOdds, 1); return w.taste }, "26 values where 25"},
		"half a projection": {func(w *world) signals.TrainedSignal {
			w.content.Projection.TextProjection = w.content.Projection.TextProjection[1:]
			return w.content
		}, "not what"},
		"unsorted words": {func(w *world) signals.TrainedSignal {
			slices.Reverse(w.content.Projection.FieldValues)
			return w.content
		}, "not what"},
		"an infinite constant":     {func(w *world) signals.TrainedSignal { w.content.Intercept = math.Inf(1); return w.content }, "not finite"},
		"a negative count":         {func(w *world) signals.TrainedSignal { w.pairs.Counts[0] = -6; return w.pairs }, "-6, where 0 is the least"},
		"a neighbour nobody knows": {func(w *world) signals.TrainedSignal { w.pairs.Neighbors[0] = 25; return w.pairs }, "out of range"},
		"rows out of order":        {func(w *world) signals.TrainedSignal { w.pairs.First[3] = w.pairs.First[2] - 1; return w.pairs }, "out of order"},
		"rows that end early": {func(w *world) signals.TrainedSignal {
			w.pairs.First[25]--
			w.pairs.First[24] = min(w.pairs.First[24], w.pairs.First[25])
			return w.pairs
		}, "rows"},
		"a weight below nothing": {func(w *world) signals.TrainedSignal { w.factor.Alpha = -1; return w.factor }, "not what"},
		"an item twice":          {func(w *world) signals.TrainedSignal { w.factor.Items.IDs()[3] = "k4"; return w.factor }, "stands twice"},
	} {
		w := newWorld(11, 25)
		m := c.file(w)
		if _, err := new(signals.Loader).Load(m.Kind(), m.Encode()); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}
	terms := signals.NewLexical([]uint32{1, 2}, []float32{0, 1}, 1, 1)
	if _, err := new(signals.Loader).Load(signals.KindLexical, terms.Encode()); err == nil {
		t.Error("a word of no weight was read")
	}
	terms = signals.NewLexical([]uint32{2, 1}, []float32{1, 1}, 1, 1)
	if _, err := new(signals.Loader).Load(signals.KindLexical, terms.Encode()); err == nil {
		t.Error("unsorted words were read")
	}
	if _, err := new(signals.Loader).Load(signals.KindResidualGP, newWorld(1, 3).factor.Encode()); err == nil || !strings.Contains(err.Error(), `kind "factors", not "taste"`) {
		t.Errorf("a file of another kind: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	w := newWorld(12, 6)
	in := w.input(12, 20, 20)
	r := rand.New(rand.NewPCG(12, 1))
	kinds := signals.Kinds()
	for _, m := range w.all() {
		kind := uint8(slices.Index(kinds, m.Kind()))
		f.Add(kind, m.Encode())
		for range 8 {
			f.Add(kind, spoil(r, m.Encode()))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) { tryFile(t, kinds[int(kind)%len(kinds)], data, in) })
}

// BenchmarkLearned has tables of the sizes that training makes. "new": nobody has met any candidate.
func BenchmarkLearned(b *testing.B) {
	w := sizedWorld(13, 4000, served)
	for _, n := range []int{100, 1000} {
		in := w.input(n, 50, 100)
		for i := range in.Request.Candidates {
			in.Request.Candidates[i].ColdStart = false
		}
		fresh := *in
		fresh.Request = &ranker.Request{Candidates: slices.Clone(in.Request.Candidates)}
		for i := range fresh.Request.Candidates {
			fresh.Request.Candidates[i].ColdStart = true
		}
		for _, m := range w.all() {
			benchmark(b, fmt.Sprintf("%s/%d", m.Kind(), n), m, in, w)
		}
		benchmark(b, fmt.Sprintf("taste/new/%d", n), w.taste, &fresh, w)
		b.Run(fmt.Sprintf("numbers/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				(&ranker.SignalInput{Request: in.Request, State: in.State}).ItemIndices(w.table)
			}
		})
	}
}

func benchmark(b *testing.B, name string, m signals.TrainedSignal, in *ranker.SignalInput, w *world) {
	b.Run(name, func(b *testing.B) {
		out := make([]float32, len(in.Request.Candidates)*len(m.Columns()))
		in.ItemIndices(w.table) // matchers of one bundle share it
		b.ReportAllocs()
		for b.Loop() {
			if err := m.Compute(b.Context(), in, out); err != nil {
				b.Fatal(err)
			}
		}
	})
}
