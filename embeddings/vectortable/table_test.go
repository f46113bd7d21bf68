package vectortable_test

import (
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/x448/float16"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"relish/embeddings/vectortable"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	dim     = 16
	header  = 64
	rowSize = 8 + 2*dim + 4
)

var digest = strings.Repeat("ab", 32)

// unit returns a unit vector that the seed determines.
func unit(seed uint64, dim int) []float32 {
	r := rand.New(rand.NewPCG(seed, 7))
	v := make([]float32, dim)
	var sum float64
	for i := range v {
		x := r.NormFloat64()
		v[i] = float32(x)
		sum += x * x
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

func open(t testing.TB, dir string) *vectortable.Table {
	t.Helper()
	tab, err := vectortable.Open(dir, digest, dim, vectortable.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tab.Close() })
	return tab
}

// add appends unit(key) for keys from..to and returns the rounded vectors.
func add(t testing.TB, tab *vectortable.Table, from, to uint64) {
	t.Helper()
	for k := from; k <= to; k++ {
		if err := tab.Append([]uint64{k}, [][]float32{unit(k, dim)}); err != nil {
			t.Fatal(err)
		}
	}
}

func holds(t testing.TB, tab *vectortable.Table, key uint64) bool {
	t.Helper()
	got := make([]float32, dim)
	if !tab.Read(key, got) {
		return false
	}
	want := unit(key, dim)
	vectortable.RoundToFloat16(want)
	if !slices.Equal(got, want) {
		t.Fatalf("key %d has a wrong vector", key)
	}
	return true
}

func closeTable(t testing.TB, tab *vectortable.Table) {
	t.Helper()
	if err := tab.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRowsSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	tab := open(t, dir)
	add(t, tab, 1, 100)
	for k := uint64(1); k <= 100; k++ {
		if !holds(t, tab, k) {
			t.Fatalf("key %d cannot be read before it is written", k)
		}
	}
	if err := tab.Sync(); err != nil {
		t.Fatal(err)
	}
	add(t, tab, 50, 3000) // some known, and more than one fsync group
	closeTable(t, tab)

	tab = open(t, dir)
	for k := uint64(1); k <= 3000; k++ {
		if !tab.Has(k) || !holds(t, tab, k) {
			t.Fatalf("key %d is lost", k)
		}
	}
	if tab.Has(3001) {
		t.Error("a key that was never added")
	}
	if s := tab.Stats(); s.Rows != 3000 || s.Dead != 0 || s.Bytes != header+3000*rowSize {
		t.Errorf("stats %+v", s)
	}
}

// A crash may leave any part of the last row.
func TestTornTail(t *testing.T) {
	src := t.TempDir()
	tab := open(t, src)
	add(t, tab, 1, 3)
	closeTable(t, tab)
	whole, err := os.ReadFile(vectortable.Path(src, digest))
	if err != nil {
		t.Fatal(err)
	}
	for cut := header + 2*rowSize; cut < len(whole); cut++ {
		dir := t.TempDir()
		path := vectortable.Path(dir, digest)
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		tab := open(t, dir)
		if !holds(t, tab, 1) || !holds(t, tab, 2) || tab.Has(3) {
			t.Fatalf("cut at %d: wrong rows", cut)
		}
		if s := tab.Stats(); s.TornBytes != cut-header-2*rowSize {
			t.Fatalf("cut at %d: counted %d bytes", cut, s.TornBytes)
		}
		add(t, tab, 3, 3)
		closeTable(t, tab)
		if now, err := os.ReadFile(path); err != nil || !slices.Equal(now, whole) {
			t.Fatalf("cut at %d: the row added again is not in its place", cut)
		}
	}
}

func TestTornHeader(t *testing.T) {
	for n := range header {
		dir := t.TempDir()
		closeTable(t, open(t, dir))
		if err := os.Truncate(vectortable.Path(dir, digest), int64(n)); err != nil {
			t.Fatal(err)
		}
		tab := open(t, dir)
		add(t, tab, 1, 1)
		closeTable(t, tab)
		if tab = open(t, dir); !holds(t, tab, 1) {
			t.Fatalf("header cut at %d: the row is lost", n)
		}
	}
}

// Whichever byte flips, its row is a miss and its neighbours are not.
func TestFlippedByte(t *testing.T) {
	dir := t.TempDir()
	tab := open(t, dir)
	add(t, tab, 1, 3)
	closeTable(t, tab)
	path := vectortable.Path(dir, digest)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := header + rowSize; at < header+2*rowSize; at++ {
		bad := slices.Clone(whole)
		bad[at] ^= 0x10
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		tab := open(t, dir)
		if s := tab.Stats(); tab.Has(2) || s.Corrupt != 1 || s.Dead != 1 || s.Rows != 2 {
			t.Fatalf("byte %d: %+v", at, s)
		}
		if !holds(t, tab, 1) || !holds(t, tab, 3) {
			t.Fatalf("byte %d: a neighbour is lost", at)
		}
		closeTable(t, tab)
	}
}

func TestRefused(t *testing.T) {
	damage := func(at int, b byte) func([]byte) []byte {
		return func(f []byte) []byte { f[at] = b; return f }
	}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"newer format":   {damage(4, 2), "upgrade"},
		"damaged header": {damage(20, 1), "header is damaged"},
		"other file":     {func([]byte) []byte { return []byte(strings.Repeat("hello ", 20)) }, "not a vector table"},
		"other, short":   {func([]byte) []byte { return []byte("hello") }, "not a vector table"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			closeTable(t, open(t, dir))
			path := vectortable.Path(dir, digest)
			f, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f = c.change(f)
			if err := os.WriteFile(path, f, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = vectortable.Open(dir, digest, dim, vectortable.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if name == "newer format" && !errors.Is(err, vectortable.ErrNewerFormat) {
				t.Errorf("error %v is not ErrNewer", err)
			}
			if now, _ := os.ReadFile(path); !slices.Equal(now, f) {
				t.Error("a refused file was changed")
			}
		})
	}
	dir := t.TempDir()
	closeTable(t, open(t, dir))
	if _, err := vectortable.Open(dir, digest, dim+1, vectortable.Options{}); err == nil {
		t.Error("a table of another vector size was opened")
	}
	alike := digest[:16] + strings.Repeat("00", 24)
	if _, err := vectortable.Open(dir, alike, dim, vectortable.Options{}); err == nil {
		t.Error("a table of another encoder with the same file name was opened")
	}
	if _, err := vectortable.Open(dir, "model-1", dim, vectortable.Options{}); err == nil {
		t.Error("a digest that is none was taken")
	}
}

func TestOneWriterManyReaders(t *testing.T) {
	dir := t.TempDir()
	reader := vectortable.Options{ReadOnly: true}
	empty, err := vectortable.Open(dir, digest, dim, reader)
	if err != nil {
		t.Fatal("absent file:", err)
	}
	if empty.Has(1) {
		t.Error("an absent file has a row")
	}
	closeTable(t, empty)

	tab := open(t, dir)
	add(t, tab, 1, 5)
	if err := tab.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := vectortable.Open(dir, digest, dim, vectortable.Options{}); !errors.Is(err, vectortable.ErrLocked) {
		t.Errorf("second writer: %v", err)
	}
	beside, err := vectortable.Open(dir, digest, dim, reader)
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	if _, err := tab.Compact(func(k uint64) bool { return k == 1 }); err != nil {
		t.Fatal(err)
	}
	if !holds(t, beside, 5) {
		t.Error("compaction took rows from a reader")
	}
	if err := beside.Append([]uint64{9}, [][]float32{unit(9, dim)}); !errors.Is(err, vectortable.ErrReadOnly) {
		t.Errorf("append: %v", err)
	}
	if err := beside.Sync(); !errors.Is(err, vectortable.ErrReadOnly) {
		t.Errorf("sync: %v", err)
	}
	if _, err := vectortable.Open(dir, digest, dim, vectortable.Options{}); !errors.Is(err, vectortable.ErrLocked) {
		t.Errorf("second writer after compaction: %v", err)
	}
}

func TestCompactDuringAppends(t *testing.T) {
	dir := t.TempDir()
	tab := open(t, dir)
	add(t, tab, 1, 2000)
	var wg sync.WaitGroup
	wg.Go(func() { add(t, tab, 2001, 4000) })
	for range 5 {
		if _, err := tab.Compact(func(k uint64) bool { return k%2 == 0 || k > 2000 }); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	check := func(tab *vectortable.Table) {
		t.Helper()
		for k := uint64(1); k <= 4000; k++ {
			if got, want := holds(t, tab, k), k%2 == 0 || k > 2000; got != want {
				t.Fatalf("key %d there: %t", k, got)
			}
		}
	}
	check(tab)
	closeTable(t, tab)
	check(open(t, dir))
}

// A file that shrinks under the map costs vectors, not the process.
func TestLostPages(t *testing.T) {
	dir := t.TempDir()
	tab := open(t, dir)
	add(t, tab, 1, 1000)
	if err := tab.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(vectortable.Path(dir, digest), 4096); err != nil {
		t.Fatal(err)
	}
	if !holds(t, tab, 1) || tab.Read(1000, make([]float32, dim)) {
		t.Error("wrong rows")
	}
	if s := tab.Stats(); s.Corrupt != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestStaleListsOtherEncoders(t *testing.T) {
	dir := t.TempDir()
	other := hex.EncodeToString(make([]byte, 32))
	tab, err := vectortable.Open(dir, other, dim, vectortable.Options{})
	if err != nil {
		t.Fatal(err)
	}
	add(t, tab, 1, 1)
	closeTable(t, tab)
	if open(t, dir).Has(1) {
		t.Error("another encoder's vector was found")
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := vectortable.Stale(dir, digest)
	if err != nil || !slices.Equal(got, []string{vectortable.Path(dir, other)}) {
		t.Errorf("stale %v, %v", got, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	tab := open(t, t.TempDir())
	inf := unit(1, dim)
	inf[3] = float32(math.NaN())
	if tab.Append([]uint64{1}, [][]float32{inf}) == nil {
		t.Error("NaN was taken")
	}
	if tab.Append([]uint64{1}, [][]float32{unit(1, dim+1)}) == nil {
		t.Error("a vector of another size was taken")
	}
	closeTable(t, tab)
	if err := tab.Append([]uint64{1}, [][]float32{unit(1, dim)}); !errors.Is(err, vectortable.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := tab.Sync(); !errors.Is(err, vectortable.ErrClosed) {
		t.Errorf("Sync after Close: %v", err)
	}
	if tab.Has(1) || tab.Close() != nil {
		t.Error("a closed table is not empty and quiet")
	}
}

// Every finite half reads back as x448/float16 has it.
func TestRoundIsExactOnHalves(t *testing.T) {
	for b := range 1 << 16 {
		h := float16.Frombits(uint16(b))
		if !h.IsFinite() {
			continue
		}
		v := []float32{h.Float32()}
		if vectortable.RoundToFloat16(v); math.Float32bits(v[0]) != math.Float32bits(h.Float32()) {
			t.Fatalf("half %#04x: %g, want %g", b, v[0], h.Float32())
		}
	}
}

func TestHalfKeepsDirection(t *testing.T) {
	worst := 1.0
	rapid.Check(t, func(t *rapid.T) {
		v := unit(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(2, 1024).Draw(t, "dim"))
		w := slices.Clone(v)
		vectortable.RoundToFloat16(w)
		var dot, vv, ww float64
		for i := range v {
			dot += float64(v[i]) * float64(w[i])
			vv += float64(v[i]) * float64(v[i])
			ww += float64(w[i]) * float64(w[i])
		}
		cos := dot / math.Sqrt(vv*ww)
		if worst = min(worst, cos); cos < 0.9999 {
			t.Fatalf("cosine %g", cos)
		}
		again := slices.Clone(w)
		if vectortable.RoundToFloat16(again); !slices.Equal(again, w) {
			t.Fatal("rounding twice changes bits")
		}
	})
	t.Logf("worst cosine between a vector and its float16 form: %.9f", worst)
}

// Open must take whatever bytes follow the header, and never crash or find a wrong vector.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	tab := open(f, dir)
	add(f, tab, 1, 3)
	closeTable(f, tab)
	whole, err := os.ReadFile(vectortable.Path(dir, digest))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:header+5])
	f.Add([]byte("RLVT"))
	f.Fuzz(func(t *testing.T, file []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(vectortable.Path(dir, digest), file, 0o600); err != nil {
			t.Fatal(err)
		}
		tab, err := vectortable.Open(dir, digest, dim, vectortable.Options{})
		if err != nil {
			return
		}
		if s := tab.Stats(); s.Rows > len(file)/rowSize {
			t.Errorf("%d rows out of %d bytes", s.Rows, len(file))
		}
		if err := tab.Close(); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	tab, err := vectortable.Open(b.TempDir(), digest, 384, vectortable.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer tab.Close()
	const n = 10_000
	for k := uint64(1); k <= n; k++ {
		if err := tab.Append([]uint64{k}, [][]float32{unit(k, 384)}); err != nil {
			b.Fatal(err)
		}
	}
	if err := tab.Sync(); err != nil {
		b.Fatal(err)
	}
	dst := make([]float32, 384)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		tab.Read(1+i*7919%n, dst)
	}
}
