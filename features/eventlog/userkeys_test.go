package eventlog_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/internal/durable/durabletest"
	"relish/ranker"
)

// eraseLog makes a log with one erase event of user u.
func eraseLog(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	l := reopen(t, dir)
	e := ranker.Event{Kind: ranker.EventErase, ID: "e", UserHash: features.UserHash("u")}
	if _, err := l.Append(t.Context(), []ranker.Event{e}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func reopen(t *testing.T, dir string) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(dir, eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// erasedUser returns the user of the first erase event.
func erasedUser(dir string) (string, error) {
	for rec, err := range eventlog.Read(dir, 1) {
		if err != nil || rec.Event.Kind == ranker.EventErase {
			return rec.Event.UserHash, err
		}
	}
	return "", nil
}

// No segment has the plain hash of an erased user, and a reader gets it with the key only.
func TestErasedUsersAreSealed(t *testing.T) {
	dir := eraseLog(t)
	hash := features.UserHash("u")
	segments, err := filepath.Glob(filepath.Join(dir, "*.rlog"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil || bytes.Contains(data, []byte(hash)) {
		t.Errorf("the segment has the plain hash (%v)", err)
	}
	if got, err := erasedUser(dir); got != hash || err != nil {
		t.Errorf("the log erases %q, %v", got, err)
	}
	key := filepath.Join(dir, "users.key")
	if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", st, err)
	}
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := reopen(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(key); !bytes.Equal(before, after) {
		t.Error("opening the log changed its key")
	}
}

// Without the key, neither a server nor a reader goes on as if nobody had been erased. Both do if
// the file says that the key is lost.
func TestLostUserKey(t *testing.T) {
	dir := eraseLog(t)
	key := filepath.Join(dir, "users.key")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := eventlog.Open(dir, eventlog.Options{}); err == nil ||
		!strings.Contains(err.Error(), "backup") || !strings.Contains(err.Error(), `"lost"`) {
		t.Errorf("opened without the key: %v", err)
	}
	if _, err := erasedUser(dir); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("read without the key: %v", err)
	}
	other, err := event.NewUserKeys()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, other.Text(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := erasedUser(dir); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("read with another key: %v", err)
	}
	if err := os.WriteFile(key, []byte("lost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := erasedUser(dir); err != nil || got == features.UserHash("u") {
		t.Errorf("read with a lost key: %q, %v", got, err)
	}
	if err := reopen(t, dir).Close(); err != nil { // makes a new key
		t.Fatal(err)
	}
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := event.ParseUserKeys(text); err != nil || k.Empty() {
		t.Errorf("the file after the next start: %q, %v", text, err)
	}
}

// A log of an earlier version has no key. If the disk is too full for one, the error names the file
// and what to do, and the next start makes it.
func TestNoSpaceForUserKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	disk := durabletest.New(filepath.Dir(dir))
	disk.SetFaults(durabletest.Faults{Write: syscall.ENOSPC})
	_, err := eventlog.Open(dir, eventlog.Options{FS: disk})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "users.key") ||
		!strings.Contains(err.Error(), "Free some space") {
		t.Errorf("opened on a full disk: %v", err)
	}
	disk.SetFaults(durabletest.Faults{})
	l, err := eventlog.Open(dir, eventlog.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// Erase events of earlier versions have the plain hash, and erase the same user.
func TestPlainHashesOfEarlierVersions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	segment, err := os.ReadFile(filepath.Join("testdata", "erasure-version-3.rlog"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "00000000000000000001.rlog"), segment, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := erasedUser(dir); got != features.UserHash("u") || err != nil {
		t.Errorf("the log erases %q, %v", got, err)
	}
	l := reopen(t, dir)
	if n := l.LastSeq(); n != 1 {
		t.Errorf("the log ends at record %d, want 1", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := erasedUser(dir); got != features.UserHash("u") || err != nil {
		t.Errorf("after opening, the log erases %q, %v", got, err)
	}
}
