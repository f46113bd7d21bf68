// Package apart does work on files that nobody vouches for in a process of its own, under limits on memory, processor
// time and patience: what such a file does to a library that trusts it must not happen to anybody else.
//
// The parent calls Run with the arguments of a hidden subcommand of its own binary, and the child calls Limit first thing.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// errorPrefix is what this binary's last words begin with, see main.
const errorPrefix = "relish: "

// maxOutput bounds what is kept of a child's output: an answer is short.
const maxOutput = 1 << 20

// Run starts this binary again with args, waits for it no longer than patience, and returns its standard output. The
// error is the child's own last words where it had any, and otherwise says how it ended. The child dies with this process.
func Run(ctx context.Context, patience time.Duration, args ...string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	var stdout, stderr boundedOutput
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	// The signal is sent when the thread ends that started the child, so the thread must not end before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	switch {
	case err == nil:
		return stdout, nil
	case ctx.Err() == context.DeadlineExceeded:
		return nil, fmt.Errorf("it took longer than %s", patience)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, exitReason(err, string(stderr))
}

// exitReason makes an error of how a child ended.
func exitReason(err error, stderr string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if words, ok := strings.CutPrefix(stderr, errorPrefix); ok {
		return errors.New(strings.TrimSpace(words))
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	first, _, _ := strings.Cut(stderr, "\n")
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return errors.New("it was killed: it took more processor time than it may, or the machine ran out of memory")
	case strings.Contains(stderr, "out of memory") || strings.Contains(stderr, "cannot allocate memory"):
		return errors.New("it asked for more memory than it may have")
	}
	return fmt.Errorf("it crashed: %v: %.200s", err, first)
}

// boundedOutput keeps the beginning of what is written.
type boundedOutput []byte

// Write implements io.Writer.
func (o *boundedOutput) Write(p []byte) (int, error) {
	*o = append(*o, p[:min(len(p), maxOutput-len(*o))]...)
	return len(p), nil
}

// Limit bounds this process: bytes of address space, and processor time, rounded up to seconds. 0 leaves one as it is.
func Limit(memory uint64, cpu time.Duration) error {
	if memory > 0 {
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: memory, Max: memory}); err != nil {
			return fmt.Errorf("limiting memory: %w", err)
		}
	}
	if cpu > 0 {
		seconds := uint64((cpu + time.Second - 1) / time.Second)
		if err := syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{Cur: seconds, Max: seconds}); err != nil {
			return fmt.Errorf("limiting processor time: %w", err)
		}
	}
	return nil
}
