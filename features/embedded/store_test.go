package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/features"
	"relish/features/embedded"
	"relish/features/event"
	"relish/features/ingest"
	"relish/features/storetest"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string, cfg features.Config, opt embedded.Options) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(dir, cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func click(id, user, item string) ranker.Event {
	return ranker.Event{
		Kind:   ranker.EventInteraction,
		ID:     id,
		Time:   1_700_000_000_000,
		UserID: user,
		ItemID: item,
		Action: "click",
	}
}

func add(t testing.TB, s *embedded.Store, events ...ranker.Event) {
	t.Helper()
	out, err := s.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range out {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
}

func TestConformance(t *testing.T) {
	type opened struct {
		*embedded.Store
		dir string
		cfg features.Config
	}
	reopenWith := func(prepare func(dir string)) storetest.Backend {
		return storetest.Backend{
			Open: func(t *testing.T, cfg features.Config) ranker.Store {
				dir := t.TempDir()
				return &opened{open(t, dir, cfg, embedded.Options{}), dir, cfg}
			},
			Reopen: func(t *testing.T, s ranker.Store) ranker.Store {
				o := s.(*opened)
				if err := o.Close(); err != nil {
					t.Fatal(err)
				}
				prepare(o.dir)
				return &opened{open(t, o.dir, o.cfg, embedded.Options{}), o.dir, o.cfg}
			},
		}
	}
	t.Run("checkpoint", func(t *testing.T) { storetest.Run(t, reopenWith(func(string) {})) })
	t.Run("replay", func(t *testing.T) {
		storetest.Run(
			t, reopenWith(func(dir string) { os.Remove(filepath.Join(dir, "checkpoint")) }),
		)
	})
	t.Run("damaged checkpoint", func(t *testing.T) {
		storetest.Run(t, reopenWith(func(dir string) {
			path := filepath.Join(dir, "checkpoint")
			data, _ := os.ReadFile(path)
			data[len(data)/2] ^= 1
			os.WriteFile(path, data, 0o644)
		}))
	})
}

// After EraseNow no file of the folder contains the user's id or what came with their requests, and
// replay has none of their events.
func TestErasureOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, storetest.Config(), embedded.Options{})
	const id = "canary-user-7f3a"
	for i := range 20 {
		add(t, s, click(fmt.Sprint("e", i), id, "a"), click(fmt.Sprint("f", i), "other", "a"))
	}
	add(t, s, ranker.Event{Kind: ranker.EventImpression, ID: "s1", UserID: "other", Session: id,
		Impression: &ranker.Impression{Items: []string{"a"}}})
	const content = "canary-content-91b2" // came with a request of the user
	s.Record(&ranker.Event{Kind: ranker.EventImpression, ID: "s2", UserID: id,
		Impression: &ranker.Impression{Items: []string{"a"}, Served: true,
			Scored: &ranker.ScoredList{
				Candidates: 1, Inline: []ranker.Item{{ID: "a", Text: content}},
			}}})
	if err := s.EraseUser(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if s.PendingErasures() != 1 {
		t.Errorf("%d erasures pending", s.PendingErasures())
	}
	if n, err := ingest.PendingErasures(dir); n != 1 || err != nil {
		t.Errorf("from outside: %d, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s = open(t, dir, storetest.Config(), embedded.Options{}); s.PendingErasures() != 1 {
		t.Errorf("%d erasures pending after a restart", s.PendingErasures())
	}
	if err := s.EraseNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.PendingErasures() != 0 {
		t.Errorf("%d erasures pending after EraseNow", s.PendingErasures())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, gone := range []string{id, content, features.UserHash(id)} {
			if err != nil || bytes.Contains(data, []byte(gone)) {
				t.Errorf("%s has %q of the erased user (%v)", d.Name(), gone, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := ingest.PendingErasures(dir); n != 0 || err != nil {
		t.Errorf("pending after all: %d, %v", n, err)
	}
}

func TestImpressionsAreRecorded(t *testing.T) {
	s := open(t, t.TempDir(), storetest.Config(), embedded.Options{})
	s.Record(&ranker.Event{Kind: ranker.EventImpression, ID: "r1", UserID: "u",
		Impression: &ranker.Impression{Items: []string{"a", "b"}, Served: true, MatrixHash: 7}})
	add(
		t, s, click("e", "u", "a"),
	) // the owner takes appends in order, so the impression is applied now
	schema, err := ranker.NewSchema(
		[]ranker.Feature{
			{
				Name:   "n",
				Kind:   ranker.KindCount,
				Scope:  ranker.ScopeItem,
				Action: features.ActionImpression,
			},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Read(
		t.Context(),
		&ranker.FeatureQuery{User: "u", Schema: schema, Candidates: []ranker.Candidate{{ID: "b"}}},
	)
	if err != nil || len(st.Shown) != 2 || st.Columns[0] == 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestOnItemsChanged(t *testing.T) {
	var got []string
	s := open(
		t,
		t.TempDir(),
		storetest.Config(),
		embedded.Options{OnItemsChanged: func(items []*ranker.ItemInfo) {
			for _, it := range items {
				got = append(got, it.ID)
			}
		}},
	)
	add(t, s, ranker.Event{Kind: ranker.EventItem, ID: "e", ItemID: "i"}, click("f", "u", "i"))
	if fmt.Sprint(got) != "[i]" {
		t.Errorf("heard of %v", got)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := ingest.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ingest.Lock(dir); !errors.Is(err, ingest.ErrLocked) ||
		!strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a second lock: %v", err)
	}
	if got := ingest.LockHolder(dir); got != fmt.Sprint(os.Getpid()) {
		t.Errorf("holder %q", got)
	}
	unlock()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ingest.Lock(file); err == nil || errors.Is(err, ingest.ErrLocked) {
		t.Errorf("the lock of a file: %v; want an error, and not ErrLocked", err)
	}
	if got := ingest.LockHolder(dir); got != "" {
		t.Errorf("holder %q after unlocking", got)
	}
}

func BenchmarkAppend100(b *testing.B) {
	s := open(b, b.TempDir(), storetest.Config(), embedded.Options{})
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		batch := make([]ranker.Event, 100)
		for i := range batch {
			batch[i] = click(fmt.Sprint(n, "-", i), fmt.Sprint("u", i), fmt.Sprint("i", i))
		}
		add(b, s, batch...)
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "events/s")
}

// A store with a base continues from it, after restarts and without its checkpoint. An erased
// user leaves the base too.
func TestBase(t *testing.T) {
	cfg := storetest.Config()
	from := features.New(cfg)
	for i, user := range []string{"u", "v"} {
		from.Apply(
			&event.Record{
				Seq:     uint64(i + 1),
				Arrival: time.Now().UnixMilli(),
				Event: ranker.Event{
					Kind:   ranker.EventInteraction,
					ID:     user,
					Time:   1e12,
					UserID: user,
					ItemID: "a",
					Action: "click",
				},
			},
		)
	}
	base, err := from.Dump("").State("") // as another log's
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := embedded.SetBase(dir, base); err != nil {
		t.Fatal(err)
	}
	sch, err := ranker.NewSchema([]ranker.Feature{{Name: "h", Kind: ranker.KindHistory}})
	if err != nil {
		t.Fatal(err)
	}
	recent := func(s *embedded.Store, user string) int {
		st, err := s.Read(t.Context(), &ranker.FeatureQuery{User: user, Schema: sch})
		if err != nil {
			t.Fatal(err)
		}
		return len(st.Recent)
	}
	for round := 1; round <= 3; round++ {
		s, err := embedded.Open(dir, cfg, embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		e := ranker.Event{
			Kind: ranker.EventInteraction, ID: fmt.Sprint("e", round), UserID: "v", ItemID: "b",
			Action: "click",
		}
		if _, err := s.Append(t.Context(), []ranker.Event{e}); err != nil {
			t.Fatal(err)
		}
		if got := recent(s, "v"); got != 1+round {
			t.Errorf("round %d: %d in the history, want %d", round, got, 1+round)
		}
		if round == 2 {
			err := errors.Join(s.EraseUser(t.Context(), "u"), s.EraseNow(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.Close(), os.Remove(filepath.Join(dir, "checkpoint"))); err != nil {
			t.Fatal(err)
		}
	}
	s, err := embedded.Open(dir, cfg, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if recent(s, "u") != 0 || recent(s, "v") != 4 {
		t.Errorf("u has %d, v has %d in the history", recent(s, "u"), recent(s, "v"))
	}
	data, err := os.ReadFile(filepath.Join(dir, "base"))
	if err != nil {
		t.Fatal(err)
	}
	if base, err := features.ReadCheckpoint(cfg, bytes.NewReader(data)); err != nil ||
		base.UserState("u") != nil ||
		base.UserState("v") == nil {
		t.Errorf("the base: %v", err)
	}
	// With a base that cannot be read, Open fails instead of starting empty.
	data[len(data)/2] ^= 1
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "base"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(other, cfg, embedded.Options{}); err == nil ||
		!strings.Contains(err.Error(), "rebuild") {
		t.Errorf("a damaged base: %v", err)
	}
}

// TestOtherBounds opens a store with other bounds of the state. The state is what the log gives
// with these bounds, as in a replay, not what the old bounds had left of it.
func TestOtherBounds(t *testing.T) {
	dir, narrow, wide := t.TempDir(), features.DefaultConfig(), features.DefaultConfig()
	narrow.Recent = 2
	schema, err := ranker.NewSchema([]ranker.Feature{{Name: "h", Kind: ranker.KindHistory}})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		cfg  features.Config
		want int
	}{{narrow, 2}, {wide, 7}, {narrow, 2}} {
		s := open(t, dir, c.cfg, embedded.Options{})
		for k := range 4 - i {
			id := fmt.Sprint(i, "-", k)
			add(t, s, click(id, "u", "item-"+id))
		}
		out, err := s.Read(t.Context(), &ranker.FeatureQuery{User: "u", Schema: schema})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(out.Recent); got != c.want {
			t.Errorf("open %d: %d recent interactions, want %d", i, got, c.want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
