package ingest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gofrs/flock"
)

// ErrLocked says that another process holds the lock of a folder. Lock returns a *LockedError.
var ErrLocked = errors.New("another process uses the folder")

// LockedError says which process holds the lock of which folder.
type LockedError struct{ Dir, Process string }

// Error implements error.
func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is in use by process %s", e.Dir, e.Process)
}

// Is makes errors.Is find ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

// Lock makes this process the only writer of the data folder until unlock is called. It creates the
// folder if needed. If another process holds the lock, the error is a *LockedError.
func Lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l := flock.New(lockPath(dir))
	ok, err := l.TryLock()
	if errors.Is(err, syscall.EISDIR) {
		return nil, fmt.Errorf("%s is a folder, and must be the file that says which process uses "+
			"%s: remove it, and start again", lockPath(dir), dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !ok {
		return nil, &LockedError{dir, pid(dir)}
	}
	err = os.WriteFile(lockPath(dir), []byte(strconv.Itoa(os.Getpid())), 0o644)
	if err != nil && !errors.Is(err, syscall.ENOSPC) { // the id only names the holder to others
		return nil, errors.Join(err, l.Unlock())
	}
	return func() { _ = l.Unlock() }, nil
}

// ownedCheck returns a function that fails if the lock file of dir is not the one of now any more.
// Somebody has then removed or replaced it or its folder, and another process may have locked the
// new one. Without a lock file the function never fails.
func ownedCheck(dir string) func() error {
	held, err := os.Stat(lockPath(dir))
	if err != nil {
		return func() error { return nil }
	}
	return func() error {
		named, err := os.Stat(lockPath(dir))
		if err != nil || !os.SameFile(held, named) {
			return fmt.Errorf("%s was removed or replaced while this process ran, so that another "+
				"process may write to %s: stop all of them and start one", lockPath(dir), dir)
		}
		return nil
	}
}

// LockHolder returns the id of the process that holds the lock of the folder, "" if none does.
func LockHolder(dir string) string {
	if _, err := os.Stat(lockPath(dir)); err != nil {
		return ""
	}
	l := flock.New(lockPath(dir))
	if ok, err := l.TryRLock(); err == nil && ok {
		_ = l.Unlock()
		return ""
	}
	return pid(dir)
}

func pid(dir string) string {
	data, err := os.ReadFile(lockPath(dir))
	if err != nil || len(data) == 0 {
		return "unknown"
	}
	return strings.TrimSpace(string(data))
}
