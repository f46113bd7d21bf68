package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"relish/features/embedded"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/features/storetest"
	"relish/internal/durable/durabletest"
	"relish/ranker"
)

// life is a data folder whose disk may stop or fail at any moment, with what clients were told.
type life struct {
	t     *testing.T
	disk  *durabletest.Disk
	dir   string
	sent  int // clicks of clickUser
	acked int // of them acknowledged
	gone  bool
}

func (l *life) open() (*embedded.Store, error) {
	opt := shortLog()
	opt.Ingest.FS = l.disk
	opt.Ingest.ReplayCheckpoint = 5
	return embedded.Open(l.dir, storetest.Config(), opt)
}

// session opens the store, uses it, and closes it. Errors are those of the disk.
func (l *life) session(use func(s *embedded.Store)) {
	s, err := l.open()
	if err != nil {
		return
	}
	use(s)
	_ = s.Close()
}

func (l *life) add(s *embedded.Store, user string, n int) {
	for range n {
		id := fmt.Sprintf("%s-%d", user, l.sent)
		if user == clickUser {
			l.sent++
		}
		_, err := s.Append(l.t.Context(), []ranker.Event{click(id, user, "i")})
		if err == nil && user == clickUser {
			l.acked++
		}
	}
}

// run writes every file of a data folder: log, high-water mark, checkpoint, journal, cut, kept and
// erased.
func (l *life) run() {
	l.session(func(s *embedded.Store) {
		l.add(s, erasedUser, 3)
		l.add(s, clickUser, 12)
	})
	l.session(func(s *embedded.Store) { // goes on, with retention
		l.add(s, clickUser, 80)
		l.gone = s.EraseUser(l.t.Context(), erasedUser) == nil
		_ = s.EraseNow(l.t.Context())
		l.add(s, clickUser, 5)
	})
	l.session(func(s *embedded.Store) { l.add(s, clickUser, 40) })
}

// check opens what is left, and compares it with what clients were told.
func (l *life) check(what string) {
	s, err := l.open()
	if err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
	if got := countClicks(l.t, s); got < l.acked || got > l.sent {
		l.t.Errorf("%s: %d clicks in the state; %d were sent, and %d acknowledged", what, got,
			l.sent, l.acked)
	}
	for i := range l.sent { // clients repeat what they are not sure of, and more
		_, err := s.Append(l.t.Context(),
			[]ranker.Event{click(fmt.Sprintf("%s-%d", clickUser, i), clickUser, "i")})
		if err != nil {
			l.t.Fatalf("%s: %v", what, err)
		}
	}
	if got := countClicks(l.t, s); got != l.sent {
		l.t.Errorf("%s: %d clicks after all were repeated, want %d", what, got, l.sent)
	}
	if !l.gone { // else nothing may be needed to erase the user
		if err := s.EraseUser(l.t.Context(), erasedUser); err != nil {
			l.t.Fatalf("%s: %v", what, err)
		}
	}
	if err := errors.Join(s.EraseNow(l.t.Context()), s.Close()); err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
	checkNoTrace(l.t, what, l.dir)
	for _, err := range eventlog.Read(ingest.LogDir(l.dir), 1) {
		if err != nil {
			l.t.Errorf("%s: %v", what, err)
		}
	}
}

// checkNoTrace fails if a file of the folder has the erased user's id.
func checkNoTrace(t *testing.T, what, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(erasedUser)) {
			t.Errorf("%s: %s has the erased user's id", what, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func newLife(t *testing.T) *life {
	root := t.TempDir()
	return &life{t: t, disk: durabletest.New(root), dir: root}
}

// After a power loss at any operation on any file of the data folder, the store opens, has what it
// acknowledged, counts repeated events once, and has nothing of an erased user.
func TestPowerLossAtEveryOperation(t *testing.T) {
	whole := newLife(t)
	whole.run()
	if whole.acked != whole.sent || !whole.gone {
		t.Fatalf("without a fault %d of %d events were acknowledged", whole.acked, whole.sent)
	}
	if _, err := os.Stat(filepath.Join(whole.dir, "cut")); err != nil {
		t.Fatalf("retention dropped nothing: %v", err)
	}
	for n := range whole.disk.Ops() {
		l := newLife(t)
		l.disk.StopAfter(n)
		l.run()
		root := t.TempDir()
		after, err := l.disk.PowerLoss(rand.New(rand.NewPCG(uint64(n), 1)), root)
		if err != nil {
			t.Fatal(err)
		}
		l.disk, l.dir = after, root
		l.check(fmt.Sprintf("stopped after operation %d", n))
		if t.Failed() {
			return
		}
	}
}

// A process that is killed at any operation loses nothing either: what it wrote stays.
func TestKilledAtAnyOperation(t *testing.T) {
	whole := newLife(t)
	whole.run()
	for n := 0; n < whole.disk.Ops(); n += 3 {
		l := newLife(t)
		l.disk.StopAfter(n)
		l.run()
		l.disk.StopAfter(-1)
		l.check(fmt.Sprintf("killed after operation %d", n))
		if t.Failed() {
			return
		}
	}
}

// What a killed process was writing may have records of users who were erased since. The next start
// removes it.
func TestTemporaryFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "cut.new")
	if err := os.WriteFile(left, []byte(erasedUser), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, storetest.Config(), quick())
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// While the disk is full, nothing is acknowledged and nothing is damaged, and the store works again
// when there is space.
func TestFullDiskForEveryWriter(t *testing.T) {
	l := newLife(t)
	full := durabletest.Faults{Write: syscall.ENOSPC}
	l.session(func(s *embedded.Store) {
		l.add(s, erasedUser, 3)
		l.add(s, clickUser, 40)
		l.disk.SetFaults(full)
		before := l.acked
		l.add(s, clickUser, 10)
		if l.acked != before {
			t.Errorf("%d events were acknowledged by a full disk", l.acked-before)
		}
		if got := countClicks(t, s); got != before {
			t.Errorf("%d clicks can be ranked with, want %d", got, before)
		}
		if err := s.EraseUser(t.Context(), erasedUser); !errors.Is(err, ranker.ErrLogFull) {
			t.Errorf("an erasure on a full disk: %v", err)
		}
	}) // cannot write its checkpoint
	for _, name := range []string{"checkpoint", "journal", "checkpoint.new", "journal.new"} {
		if _, err := os.Stat(filepath.Join(l.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a full disk has a %s (%v)", name, err)
		}
	}
	l.session(func(s *embedded.Store) { // starts on a full disk
		if got := countClicks(t, s); got != l.acked {
			t.Errorf("%d clicks after a start on a full disk, want %d", got, l.acked)
		}
		l.disk.SetFaults(durabletest.Faults{})
		l.add(s, clickUser, 5)
		if err := s.EraseUser(t.Context(), erasedUser); err != nil {
			t.Error(err)
		}
		l.gone = true
		l.disk.SetFaults(full)
		if err := s.EraseNow(t.Context()); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("the rewrite of the log on a full disk: %v", err)
		}
		if s.PendingErasures() != 1 {
			t.Errorf("%d erasures are pending, want 1", s.PendingErasures())
		}
	})
	l.disk.SetFaults(durabletest.Faults{})
	l.check("after the disk was full")
}
