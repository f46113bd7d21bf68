package vectortable_test

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"relish/embeddings/vectortable"
)

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
	appendKeys(t, tab, 1, 5)
	if err := tab.Sync(); err != nil {
		t.Fatal(err)
	}
	_, err = vectortable.Open(dir, digest, dim, vectortable.Options{})
	if !errors.Is(err, vectortable.ErrLocked) {
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
	if !hasVector(t, beside, 5) {
		t.Error("compaction removed a row from an open reader")
	}
	err = beside.Append([]uint64{9}, [][]float32{unit(9, dim)})
	if !errors.Is(err, vectortable.ErrReadOnly) {
		t.Errorf("Append to a read-only table: %v", err)
	}
	if err := beside.Sync(); !errors.Is(err, vectortable.ErrReadOnly) {
		t.Errorf("Sync of a read-only table: %v", err)
	}
	_, err = vectortable.Open(dir, digest, dim, vectortable.Options{})
	if !errors.Is(err, vectortable.ErrLocked) {
		t.Errorf("second writer after compaction: %v", err)
	}
}

func TestCompactDuringAppends(t *testing.T) {
	dir := t.TempDir()
	tab := open(t, dir)
	appendKeys(t, tab, 1, 2000)
	var wg sync.WaitGroup
	wg.Go(func() { appendKeys(t, tab, 2001, 4000) })
	for range 5 {
		if _, err := tab.Compact(func(k uint64) bool { return k%2 == 0 || k > 2000 }); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	check := func(tab *vectortable.Table) {
		t.Helper()
		for k := uint64(1); k <= 4000; k++ {
			if got, want := hasVector(t, tab, k), k%2 == 0 || k > 2000; got != want {
				t.Fatalf("key %d: found %t, want %t", k, got, want)
			}
		}
	}
	check(tab)
	closeTable(t, tab)
	check(open(t, dir))
}

// If the file shrinks under the map, reads miss, and the process goes on.
func TestLostPages(t *testing.T) {
	dir := t.TempDir()
	tab := open(t, dir)
	appendKeys(t, tab, 1, 1000)
	if err := tab.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(vectortable.Path(dir, digest), 4096); err != nil {
		t.Fatal(err)
	}
	if !hasVector(t, tab, 1) || tab.Read(1000, make([]float32, dim)) {
		t.Error("row 1 should be there, row 1000 not")
	}
	if s := tab.Stats(); s.Corrupt != 1 {
		t.Errorf("stats %+v", s)
	}
}

// Rows are copied between tables of one encoder. What the table has already stays, and a damaged
// row of the other table is left out.
func TestCopyFrom(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	other := open(t, from)
	appendKeys(t, other, 1, 5)
	closeTable(t, other)
	damage(t, from, header+2*rowSize+10) // in the row of key 3
	other, err := vectortable.Open(from, digest, dim, vectortable.Options{
		ReadOnly: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tab := open(t, to)
	appendKeys(t, tab, 5, 6)
	if n, err := tab.CopyFrom(other); n != 3 || err != nil {
		t.Errorf("copied %d rows, %v; want those of 1, 2 and 4", n, err)
	}
	if n, err := tab.CopyFrom(other); n != 0 || err != nil {
		t.Errorf("copied %d rows again, %v", n, err)
	}
	closeTable(t, tab)
	tab = open(t, to)
	for key, want := range map[uint64]bool{1: true, 2: true, 3: false, 4: true, 5: true, 6: true} {
		if hasVector(t, tab, key) != want {
			t.Errorf("key %d: found is %t", key, !want)
		}
	}
	if st := tab.Stats(); st.Dead != 0 {
		t.Errorf("%d rows were written twice", st.Dead)
	}
	foreign, err := vectortable.Open(t.TempDir(), strings.Repeat("cd", 32), dim,
		vectortable.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if _, err := tab.CopyFrom(foreign); err == nil {
		t.Error("rows of another encoder are accepted")
	}
}

// damage changes one byte of the table's file in dir.
func damage(t *testing.T, dir string, at int) {
	t.Helper()
	path := vectortable.Path(dir, digest)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 0xff
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
