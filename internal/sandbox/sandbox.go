// Package sandbox reads files from untrusted sources in a child process, with limits on memory,
// processor time and wall-clock time. What a hostile file does to the library that reads it cannot
// harm the parent.
//
// The parent calls Run with the arguments of a hidden subcommand of its own binary. The child calls
// Limit before anything else, does the work, and prints its result to standard output. Run returns
// a short result at the end; Start returns a long one while the child prints it. No goroutine
// outlives Run or Stream.Close.
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

// errorPrefix begins the message with which this binary exits, see cmd/relish.
const errorPrefix = "relish: "

// maxOutput bounds what is kept of a child's output in bytes: results are short.
const maxOutput = 1 << 20

// Run starts this binary with args, waits for it, and returns its standard output, at most 1 MiB.
//
// The error is the child's own error message if it printed one; otherwise it says how the child
// ended. After timeout, or when ctx ends, the child is killed. It also dies with this process.
func Run(ctx context.Context, timeout time.Duration, args ...string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	var stdout, stderr boundedOutput
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	// The kernel sends the signal when the thread that started the child ends. So this goroutine
	// keeps its thread until the child has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	switch {
	case err == nil:
		return stdout, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("the child process took longer than %s", timeout)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, exitReason(err, string(stderr))
}

// exitReason returns an error that says how a child ended.
func exitReason(err error, stderr string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	// A native library may have written lines of its own before the message.
	_, message, ok := strings.Cut("\n"+stderr, "\n"+errorPrefix)
	if ok && exit.Exited() {
		return errors.New(strings.TrimSpace(message))
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	firstLine, _, _ := strings.Cut(stderr, "\n")
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return errors.New("the child process was killed: it used more processor time than its " +
			"limit, or the machine ran out of memory")
	case strings.Contains(stderr, "out of memory"),
		strings.Contains(stderr, "cannot allocate memory"):
		return errors.New("the child process asked for more memory than its limit")
	}
	return fmt.Errorf("the child process crashed: %w: %.200s", err, firstLine)
}

// boundedOutput keeps the first maxOutput bytes that are written to it.
type boundedOutput []byte

// Write implements io.Writer.
func (o *boundedOutput) Write(p []byte) (int, error) {
	*o = append(*o, p[:min(len(p), maxOutput-len(*o))]...)
	return len(p), nil
}

// Limit bounds the memory of this process, in bytes of address space, and its processor time,
// rounded up to seconds. 0 leaves a limit as it is. A limit cannot be raised again.
func Limit(memory uint64, cpu time.Duration) error {
	if memory > 0 {
		limit := syscall.Rlimit{Cur: memory, Max: memory}
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
			return fmt.Errorf("limiting memory to %d bytes: %w", memory, err)
		}
	}
	if cpu > 0 {
		seconds := uint64((cpu + time.Second - 1) / time.Second)
		limit := syscall.Rlimit{Cur: seconds, Max: seconds}
		if err := syscall.Setrlimit(syscall.RLIMIT_CPU, &limit); err != nil {
			return fmt.Errorf("limiting processor time to %d s: %w", seconds, err)
		}
	}
	return nil
}
