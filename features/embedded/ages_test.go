package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/features/embedded"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/features/storetest"
	"relish/internal/durable"
	"relish/ranker"
)

// noSync is a disk that loses nothing, so it need not wait.
type noSync struct{ durable.FS }

type noSyncFile struct{ durable.File }

func (noSyncFile) Sync() error { return nil }

func (noSync) SyncDir(string) error { return nil }

func (n noSync) Create(path string) (durable.File, error) {
	f, err := n.FS.Create(path)
	return noSyncFile{f}, err
}

func (n noSync) Open(path string) (durable.File, error) {
	f, err := n.FS.Open(path)
	return noSyncFile{f}, err
}

func quick() embedded.Options {
	return embedded.Options{Ingest: ingest.Options{FS: noSync{durable.Disk}}}
}

// The files of a data folder, each in four ages. A crash, a restore from a backup, or an operator
// may combine them in any way.
const (
	missing = iota
	early   // after the first clicks
	middle  // after DELETE of a user whose records are still in the log
	late    // after the erasure, and more clicks
	ages
)

const (
	erasedUser = "erased-user"
	clickUser  = "u"
)

// dataFiles are the files that have an age of their own. The bases go with the checkpoint.
var dataFiles = []string{"log", "log.highwater", "checkpoint", "journal", "erased"}

// agedFolders returns a data folder of each age, and by age the number of clickUser's clicks in it.
func agedFolders(t *testing.T) (dirs [ages]string, clicks [ages]int) {
	dir := filepath.Join(t.TempDir(), "d")
	session := func(age int, use func(s *embedded.Store)) {
		s := open(t, dir, storetest.Config(), quick())
		use(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		dirs[age] = filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dirs[age], os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	add10 := func(s *embedded.Store, age int) {
		for range 10 {
			add(t, s, click(fmt.Sprint("e", clicks[age]), clickUser, "i"))
			clicks[age]++
		}
	}
	session(early, func(s *embedded.Store) {
		add(t, s, click("x", erasedUser, "i"))
		add10(s, early)
	})
	clicks[middle] = clicks[early]
	session(middle, func(s *embedded.Store) {
		add10(s, middle)
		if err := s.EraseUser(t.Context(), erasedUser); err != nil {
			t.Fatal(err)
		}
	})
	clicks[late] = clicks[middle]
	session(late, func(s *embedded.Store) {
		if err := s.EraseNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		add10(s, late)
	})
	return dirs, clicks
}

// mix makes a data folder of files of these ages, in the order of dataFiles.
func mix(t *testing.T, dirs [ages]string, age []int) string {
	t.Helper()
	to := t.TempDir()
	copyFile := func(from, name string) {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range dataFiles {
		switch {
		case age[i] == missing:
		case name == "log":
			from := os.DirFS(filepath.Join(dirs[age[i]], name))
			if err := os.CopyFS(filepath.Join(to, name), from); err != nil {
				t.Fatal(err)
			}
		default:
			copyFile(dirs[age[i]], name)
			if name == "checkpoint" {
				copyFile(dirs[age[i]], "kept")
			}
		}
	}
	return to
}

// countClicks returns the clicks of clickUser in the state.
func countClicks(t *testing.T, s *embedded.Store) int {
	t.Helper()
	schema, err := ranker.NewSchema([]ranker.Feature{{
		Name: "n", Kind: ranker.KindCount, Scope: ranker.ScopeUser, Action: "click",
		HalfLife: "all",
	}})
	if err != nil {
		t.Fatal(err)
	}
	state, err := s.Read(t.Context(), &ranker.FeatureQuery{
		User: clickUser, Schema: schema, Candidates: []ranker.Candidate{{ID: "i"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return int(math.Round(math.Expm1(float64(state.Columns[0])))) // columns are log(1 + n)
}

// logEnd returns the newest sequence of a folder's log, and whether it has records of erasedUser.
func logEnd(t *testing.T, dir string) (last uint64, erased bool) {
	t.Helper()
	for rec, err := range eventlog.Read(ingest.LogDir(dir), 1) {
		if d := new(eventlog.Damage); errors.As(err, &d) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		last, erased = rec.Seq, erased || rec.Event.UserID == erasedUser
	}
	return last, erased
}

// Whatever the ages of the files are, nothing that a file has is lost, new events survive the next
// crash with sequences that nothing has had, and erasures that an older log undoes are done again.
func TestFilesOfDifferentAges(t *testing.T) {
	dirs, clicks := agedFolders(t)
	var newest [ages]uint64
	for age := early; age < ages; age++ {
		newest[age], _ = logEnd(t, dirs[age])
	}
	age := make([]int, len(dataFiles))
	for n := range 4 * 2 * 4 * 4 * 2 {
		left := n
		for i, name := range dataFiles {
			values := []int{missing, early, middle, late}
			if name == "log.highwater" || name == "erased" {
				values = []int{missing, late}
			}
			age[i] = values[left%len(values)]
			left /= len(values)
		}
		name := fmt.Sprintf("log %d, high water %d, checkpoint %d, journal %d, erased %d",
			age[0], age[1], age[2], age[3], age[4])
		checkMix(t, name, mix(t, dirs, age), age, clicks, newest)
		if t.Failed() {
			return
		}
	}
}

func checkMix(
	t *testing.T, name, dir string, age []int, clicks [ages]int, newest [ages]uint64,
) {
	cfg := storetest.Config()
	s, err := embedded.Open(dir, cfg, quick())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	log, checkpoint := age[0], age[2]
	want := max(clicks[log], clicks[checkpoint])
	if got := countClicks(t, s); got != want {
		t.Errorf("%s: %d clicks, want %d", name, got, want)
	}
	if _, undone := logEnd(t, dir); undone && log == middle {
		if s.PendingErasures() != 1 {
			t.Errorf("%s: %d erasures are pending, want 1", name, s.PendingErasures())
		}
		if n, err := ingest.PendingErasures(dir); n != 1 || err != nil {
			t.Errorf("%s: from outside %d erasures are pending, %v", name, n, err)
		}
		if err := s.EraseNow(context.Background()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, undone := logEnd(t, dir); undone {
			t.Errorf("%s: the log still has records of the erased user", name)
		}
	}
	add(t, s, click("new", clickUser, "i"))
	used := max(newest[log], newest[checkpoint], newest[age[1]], newest[age[3]])
	if age[4] == late {
		used = max(used, newest[middle])
	}
	if got := s.LastSeq(); got <= used {
		t.Errorf("%s: the new event has sequence %d, and %d was used", name, got, used)
	}
	// The process is killed: nothing is written any more.
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	again, err := embedded.Open(crashed, cfg, quick())
	if err != nil {
		t.Fatalf("%s: after the crash: %v", name, err)
	}
	t.Cleanup(func() { _ = again.Close() })
	if got := countClicks(t, again); got != want+1 {
		t.Errorf("%s: after the crash %d clicks, want %d", name, got, want+1)
	}
	out, err := again.Append(t.Context(), []ranker.Event{click("new", clickUser, "i")})
	if err != nil || !out[0].Duplicate {
		t.Errorf("%s: the repeated event is no duplicate: %+v, %v", name, out, err)
	}
}

// Events that neither the log nor the state has can be sent again.
func TestLostEventsCanBeRepeated(t *testing.T) {
	dirs, clicks := agedFolders(t)
	dir := mix(t, dirs, []int{early, late, early, late, late})
	s := open(t, dir, storetest.Config(), quick())
	for i := range clicks[late] {
		out, err := s.Append(t.Context(), []ranker.Event{click(fmt.Sprint("e", i), clickUser, "i")})
		if err != nil || out[0].Duplicate != (i < clicks[early]) {
			t.Errorf("event %d of %d: %+v, %v", i, clicks[early], out[0], err)
		}
	}
	if got := countClicks(t, s); got != clicks[late] {
		t.Errorf("%d clicks, want %d", got, clicks[late])
	}
}

// A checkpoint or base of another log is not used.
func TestFilesOfAnotherLog(t *testing.T) {
	cfg := storetest.Config()
	folder := func(n int) string {
		dir := filepath.Join(t.TempDir(), "d")
		s := open(t, dir, cfg, quick())
		for i := range n {
			add(t, s, click(fmt.Sprint("e", i), clickUser, "i"))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir, other := folder(3), folder(9)
	foreign := func(from, to string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(other, from))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"checkpoint", "journal"} {
		foreign(name, name)
	}
	erased := []byte(`{"replica":"00000000000000aa","up_to":99}`)
	if err := os.WriteFile(filepath.Join(dir, "erased"), erased, 0o644); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, cfg, quick())
	add(t, s, click("new", clickUser, "i"))
	if got := countClicks(t, s); got != 4 || s.LastSeq() != 4 {
		t.Errorf("%d clicks up to record %d, want 4", got, s.LastSeq())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	foreign("checkpoint", "kept")
	if err := embedded.RemoveCheckpoint(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(dir, cfg, quick()); err == nil ||
		!strings.Contains(err.Error(), "another event log") {
		t.Errorf("a base of another log: %v", err)
	}
}

// A start that is killed again and again while it replays the log comes to its end.
func TestInterruptedReplayConverges(t *testing.T) {
	const records, interval, killedAfter = 20_000, 2000, 5000
	cfg, dir := storetest.Config(), filepath.Join(t.TempDir(), "d")
	s := open(t, dir, cfg, quick())
	for i := 0; i < records; i += 1000 {
		batch := make([]ranker.Event, 1000)
		for k := range batch {
			batch[k] = click(fmt.Sprint("e", i+k), clickUser, "i")
		}
		add(t, s, batch...)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := packed(t, dir, cfg)
	for _, name := range []string{"checkpoint", "journal"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	killed := errors.New("killed")
	opt := quick()
	opt.Ingest.ReplayCheckpoint = interval
	left := uint64(records)
	opt.Ingest.OnReplay = func(done, total uint64) error {
		if total > left || done > total {
			return fmt.Errorf("%d of %d records; %d were left", done, total, left)
		}
		if done >= killedAfter {
			return killed
		}
		return nil
	}
	for {
		s, err := embedded.Open(dir, cfg, opt)
		if err == nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		if left < killedAfter {
			t.Fatal("the start does not come to its end")
		}
		left -= killedAfter - interval // what came after the last checkpoint is read again
	}
	if got := packed(t, dir, cfg); !bytes.Equal(got, want) {
		t.Error("the state differs")
	}
}
