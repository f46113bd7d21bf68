package vectortable_test

import (
	"errors"
	"os"
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
