package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Stream is the standard output of a child process while it runs. Read it from one goroutine, and
// Close it.
type Stream struct {
	out     *os.File
	ended   bool // Read has returned the end of the output
	cancel  context.CancelFunc
	done    chan error // gets the error of the child when it has ended
	timeout time.Duration
}

// Start starts this binary with args and returns its standard output. After timeout, or when ctx
// ends, the child is killed. It also dies with this process.
func Start(ctx context.Context, timeout time.Duration, args ...string) (*Stream, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	s := &Stream{out: out, cancel: cancel, done: make(chan error, 1), timeout: timeout}
	go func() { s.done <- s.run(ctx, exec.CommandContext(ctx, self, args...), in) }()
	return s, nil
}

// run runs the child and returns how it ended.
func (s *Stream) run(ctx context.Context, cmd *exec.Cmd, stdout *os.File) error {
	// The kernel sends the signal when the thread that started the child ends. So this goroutine
	// keeps its thread until the child has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var stderr boundedOutput
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = stdout, &stderr, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Start()
	closeErr := stdout.Close() // the child has its own copy, whose end is the end of the output
	if err == nil {
		err = cmd.Wait()
	}
	switch {
	case err == nil:
		return closeErr
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("the child process took longer than %s", s.timeout)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return exitReason(err, string(stderr))
}

// Read implements io.Reader. The end of the output does not mean that the child did well: call
// Close.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	s.ended = s.ended || errors.Is(err, io.EOF)
	return n, err
}

// Close ends the child, unless it has ended, and waits for it. If the output was read to its end,
// the error says why the child failed, in the words of Run; otherwise there is none.
func (s *Stream) Close() error {
	if !s.ended {
		s.cancel()
	}
	err := <-s.done
	s.done <- err // for a second Close
	s.cancel()
	if closeErr := s.out.Close(); closeErr != nil && !errors.Is(closeErr, os.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	if !s.ended {
		return nil
	}
	return err
}
