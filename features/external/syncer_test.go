package external_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"go.uber.org/goleak"

	"relish/features"
	store "relish/features/embedded"
	"relish/features/eventlog"
	"relish/features/external"
	"relish/features/ingest"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// put imports a table with one row: item a with the value x in column x.
func put(t *testing.T, dir, name string, imported int64, x float64) external.Version {
	t.Helper()
	schema := arrow.NewSchema(
		[]arrow.Field{
			{Name: "item", Type: arrow.BinaryTypes.String},
			{Name: "x", Type: arrow.PrimitiveTypes.Float64},
		},
		nil,
	)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append("a")
	b.Field(1).(*array.Float64Builder).Append(x)
	rec := b.NewRecord()
	defer rec.Release()
	in := filepath.Join(t.TempDir(), "in.arrow")
	f, err := os.Create(in)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(schema))
	if err == nil {
		err = w.Write(rec)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(external.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(external.Dir(dir), "import")
	info, err := external.ConvertTable(in, made)
	if err != nil {
		t.Fatal(err)
	}
	v := external.Version{Digest: info.SHA256, Imported: imported}
	if err := external.FolderRepository(dir).Put(t.Context(), name, v, made); err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t *testing.T, dir string) (*store.Store, *external.Syncer) {
	t.Helper()
	s, err := store.Open(dir, features.DefaultConfig(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	syncer, err := external.NewSyncer(
		dir, external.FolderRepository(dir), s, slog.New(slog.DiscardHandler),
	)
	if err != nil {
		t.Fatal(err)
	}
	return s, syncer
}

// x returns the value of column x that a ranking sees, NaN if it is missing.
func x(t *testing.T, s *store.Store) float32 {
	t.Helper()
	schema, err := ranker.NewSchema(
		[]ranker.Feature{{Name: "x", Kind: ranker.KindTable, Column: "shop.x"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Read(
		t.Context(),
		&ranker.FeatureQuery{Schema: schema, User: "u", Candidates: []ranker.Candidate{{ID: "a"}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	return st.Columns[0]
}

func TestImports(t *testing.T) {
	dir := t.TempDir()
	s, syncer := open(t, dir)
	if err := syncer.Sync(t.Context()); err != nil {
		t.Fatalf("an empty repository: %v", err)
	}
	first := put(t, dir, "shop", 1000, 1)
	for range 2 { // the second has nothing to do
		if err := syncer.Sync(t.Context()); err != nil || x(t, s) != 1 {
			t.Fatalf("%v, column %v", err, x(t, s))
		}
	}
	second := put(t, dir, "shop", 2000, 2)
	put(t, dir, "shop", 1500, 3) // an older import that comes late
	if err := syncer.Sync(t.Context()); err != nil || x(t, s) != 2 {
		t.Fatalf("%v, column %v", err, x(t, s))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// After a restart the same version is in use.
	s, _ = open(t, dir)
	if x(t, s) != 2 {
		t.Errorf("after a restart the column is %v", x(t, s))
	}
	var logged []string
	for rec, err := range eventlog.Read(ingest.LogDir(dir), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Event.Kind == ranker.EventTable {
			logged = append(logged, rec.Event.Digest)
		}
	}
	if !slices.Equal(logged, []string{first.Digest, second.Digest}) {
		t.Errorf("the log has %v", logged)
	}
	// A replay uses the same versions, from the files.
	replay := features.New(features.DefaultConfig())
	replay.OpenTable = external.Opener(dir, slog.New(slog.DiscardHandler))
	for rec := range eventlog.Read(ingest.LogDir(dir), 1) {
		replay.Apply(&rec)
	}
	schema, _ := ranker.NewSchema(
		[]ranker.Feature{{Name: "x", Kind: ranker.KindTable, Column: "shop.x"}},
	)
	st, err := replay.Read(&ranker.FeatureQuery{
		Schema: schema, User: "u", Candidates: []ranker.Candidate{{ID: "a"}},
	})
	if err != nil || st.Columns[0] != 2 {
		t.Errorf("the replay sees %v, %v", st, err)
	}
}

// A damaged version is rejected, and the version in use stays.
func TestDamagedVersion(t *testing.T) {
	dir := t.TempDir()
	s, syncer := open(t, dir)
	put(t, dir, "shop", 1000, 1)
	if err := syncer.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	bad := put(t, dir, "shop", 2000, 2)
	path := external.Path(dir, bad.Digest)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syncer.Sync(t.Context()); err == nil {
		t.Error("the damaged version was not reported")
	}
	if err := syncer.Sync(t.Context()); err != nil {
		t.Errorf("it was tried again at once: %v", err)
	}
	if x(t, s) != 1 {
		t.Errorf("the column is %v", x(t, s))
	}
	put(t, dir, "shop", 3000, 3)
	if err := syncer.Sync(t.Context()); err != nil || x(t, s) != 3 {
		t.Errorf("a sound version after it: %v, column %v", err, x(t, s))
	}
}

// Run puts the versions in use back into an empty repository, and ends with its context.
func TestLostRepository(t *testing.T) {
	dir := t.TempDir()
	_, syncer := open(t, dir)
	v := put(t, dir, "shop", 1000, 1)
	if err := syncer.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(external.Dir(dir), "current.json")); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { syncer.Run(ctx, func(error) {}); close(done) }()
		synctest.Wait() // Run waits for its ticker after the first poll
		now, err := external.FolderRepository(dir).Current(ctx)
		if err != nil || now["shop"] != v {
			t.Errorf("the repository has %v, %v; want version %v", now, err, v)
		}
		stop()
		<-done
	})
}
