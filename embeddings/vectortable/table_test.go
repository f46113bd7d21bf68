package vectortable_test

import (
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

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

// appendKeys appends the vector unit(key) for all keys from first to last.
func appendKeys(t testing.TB, tab *vectortable.Table, first, last uint64) {
	t.Helper()
	for k := first; k <= last; k++ {
		if err := tab.Append([]uint64{k}, [][]float32{unit(k, dim)}); err != nil {
			t.Fatal(err)
		}
	}
}

// hasVector reports whether the table has the vector unit(key), and fails the test if it has
// another one.
func hasVector(t testing.TB, tab *vectortable.Table, key uint64) bool {
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
	appendKeys(t, tab, 1, 100)
	for k := uint64(1); k <= 100; k++ {
		if !hasVector(t, tab, k) {
			t.Fatalf("key %d cannot be read before it is written to disk", k)
		}
	}
	if err := tab.Sync(); err != nil {
		t.Fatal(err)
	}
	appendKeys(t, tab, 50, 3000) // some keys are known, and the others need more than one fsync
	closeTable(t, tab)

	tab = open(t, dir)
	for k := uint64(1); k <= 3000; k++ {
		if !tab.Has(k) || !hasVector(t, tab, k) {
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

// A crash may leave any part of the last row. Open cuts it off.
func TestTornTail(t *testing.T) {
	src := t.TempDir()
	tab := open(t, src)
	appendKeys(t, tab, 1, 3)
	closeTable(t, tab)
	complete, err := os.ReadFile(vectortable.Path(src, digest))
	if err != nil {
		t.Fatal(err)
	}
	for cut := header + 2*rowSize; cut < len(complete); cut++ {
		dir := t.TempDir()
		path := vectortable.Path(dir, digest)
		if err := os.WriteFile(path, complete[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		tab := open(t, dir)
		if !hasVector(t, tab, 1) || !hasVector(t, tab, 2) || tab.Has(3) {
			t.Fatalf("cut at %d: rows 1 and 2 should be there, row 3 not", cut)
		}
		if s := tab.Stats(); s.TornBytes != cut-header-2*rowSize {
			t.Fatalf("cut at %d: counted %d bytes", cut, s.TornBytes)
		}
		appendKeys(t, tab, 3, 3)
		closeTable(t, tab)
		if now, err := os.ReadFile(path); err != nil || !slices.Equal(now, complete) {
			t.Fatalf("cut at %d: the row that was appended again is in a wrong place", cut)
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
		appendKeys(t, tab, 1, 1)
		closeTable(t, tab)
		if tab = open(t, dir); !hasVector(t, tab, 1) {
			t.Fatalf("header cut at %d: the row is lost", n)
		}
	}
}

// A changed byte makes its row a miss, and no other row.
func TestFlippedByte(t *testing.T) {
	dir := t.TempDir()
	tab := open(t, dir)
	appendKeys(t, tab, 1, 3)
	closeTable(t, tab)
	path := vectortable.Path(dir, digest)
	complete, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := header + rowSize; at < header+2*rowSize; at++ {
		bad := slices.Clone(complete)
		bad[at] ^= 0x10
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		tab := open(t, dir)
		if s := tab.Stats(); tab.Has(2) || s.Corrupt != 1 || s.Dead != 1 || s.Rows != 2 {
			t.Fatalf("byte %d: %+v", at, s)
		}
		if !hasVector(t, tab, 1) || !hasVector(t, tab, 3) {
			t.Fatalf("byte %d: another row is lost", at)
		}
		closeTable(t, tab)
	}
}

func TestOpenRefuses(t *testing.T) {
	damage := func(at int, b byte) func([]byte) []byte {
		return func(f []byte) []byte { f[at] = b; return f }
	}
	replaceBy := func(text string) func([]byte) []byte {
		return func([]byte) []byte { return []byte(text) }
	}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"newer format":   {damage(4, 2), "upgrade"},
		"damaged header": {damage(20, 1), "header is damaged"},
		"other file":     {replaceBy(strings.Repeat("hello ", 20)), "not a vector table"},
		"other, short":   {replaceBy("hello"), "not a vector table"},
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
				t.Errorf("error %v does not wrap ErrNewerFormat", err)
			}
			if now, _ := os.ReadFile(path); !slices.Equal(now, f) {
				t.Error("a refused file was changed")
			}
		})
	}
	dir := t.TempDir()
	closeTable(t, open(t, dir))
	if _, err := vectortable.Open(dir, digest, dim+1, vectortable.Options{}); err == nil {
		t.Error("Open with another vector size succeeded")
	}
	samePrefix := digest[:16] + strings.Repeat("00", 24)
	if _, err := vectortable.Open(dir, samePrefix, dim, vectortable.Options{}); err == nil {
		t.Error("Open for another encoder with the same file name succeeded")
	}
	if _, err := vectortable.Open(dir, "model-1", dim, vectortable.Options{}); err == nil {
		t.Error("Open accepted a digest that is no SHA-256")
	}
}

func TestEncodersHaveTablesOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	other := hex.EncodeToString(make([]byte, 32))
	tab, err := vectortable.Open(dir, other, dim, vectortable.Options{})
	if err != nil {
		t.Fatal(err)
	}
	appendKeys(t, tab, 1, 1)
	closeTable(t, tab)
	if open(t, dir).Has(1) {
		t.Error("another encoder's vector was found")
	}
}

func TestAppendRefuses(t *testing.T) {
	tab := open(t, t.TempDir())
	withNaN := unit(1, dim)
	withNaN[3] = float32(math.NaN())
	if tab.Append([]uint64{1}, [][]float32{withNaN}) == nil {
		t.Error("Append accepted NaN")
	}
	if tab.Append([]uint64{1}, [][]float32{unit(1, dim+1)}) == nil {
		t.Error("Append accepted a vector of another size")
	}
	closeTable(t, tab)
	err := tab.Append([]uint64{1}, [][]float32{unit(1, dim)})
	if !errors.Is(err, vectortable.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	if err := tab.Sync(); !errors.Is(err, vectortable.ErrClosed) {
		t.Errorf("Sync after Close: %v", err)
	}
	if tab.Has(1) || tab.Close() != nil {
		t.Error("a closed table has rows, or a second Close fails")
	}
}

// Open copes with any bytes: it neither crashes nor finds more rows than there is room for.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	tab := open(f, dir)
	appendKeys(f, tab, 1, 3)
	closeTable(f, tab)
	complete, err := os.ReadFile(vectortable.Path(dir, digest))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(complete)
	f.Add(complete[:header+5])
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
