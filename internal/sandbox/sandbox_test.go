package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/internal/sandbox"
)

// The test binary is its own child: the environment says so, and the argument says what it does.
func TestMain(m *testing.M) {
	if os.Getenv("SANDBOX_TEST_CHILD") == "1" {
		child(os.Args[1])
		return
	}
	goleak.VerifyTestMain(m)
}

var sink [][]byte

// child limits itself and then behaves as the argument says. Only the child that is to exceed its
// processor time has a limit on it, so that no other outcome depends on the speed of the machine.
func child(behaviour string) {
	cpu := time.Duration(0)
	if behaviour == "exceeds processor time" {
		cpu = time.Second
	}
	if err := sandbox.Limit(2<<30, cpu); err != nil {
		fmt.Fprintln(os.Stderr, "relish:", err)
		os.Exit(1)
	}
	switch behaviour {
	case "succeeds":
		fmt.Print("an answer")
	case "prints too much":
		for range 4096 {
			fmt.Print(strings.Repeat("x", 1024))
		}
	case "reports an error":
		fmt.Fprintln(os.Stderr, "relish: the file is bad")
		os.Exit(1)
	case "reports an error of a library":
		fmt.Fprintln(os.Stderr, "[E:library] the node failed\nrelish: the file is bad")
		os.Exit(1)
	case "panics":
		panic("a fault")
	case "exceeds memory":
		// The limit is on address space, so the pages need not be touched.
		for {
			sink = append(sink, make([]byte, 256<<20))
		}
	case "exceeds processor time":
		for i := 0; ; i++ {
			sink = append(sink[:0], []byte{byte(i)})
		}
	case "deadlocks":
		select {}
	case "sleeps":
		time.Sleep(time.Hour)
	}
}

func TestRun(t *testing.T) {
	t.Setenv("SANDBOX_TEST_CHILD", "1")
	for _, c := range []struct {
		behaviour, out, err string
		timeout             time.Duration
	}{
		{"succeeds", "an answer", "", 5 * time.Minute},
		{"prints too much", strings.Repeat("x", 1<<20), "", 5 * time.Minute},
		{"reports an error", "", "the file is bad", 5 * time.Minute},
		{"reports an error of a library", "", "the file is bad", 5 * time.Minute},
		{"panics", "", "crashed", 5 * time.Minute},
		{"exceeds memory", "", "asked for more memory than its limit", 5 * time.Minute},
		{"exceeds processor time", "", "was killed", 5 * time.Minute},
		{"deadlocks", "", "crashed", 5 * time.Minute}, // the Go runtime notices
		{"sleeps", "", "took longer than 100ms", 100 * time.Millisecond},
	} {
		t.Run(c.behaviour, func(t *testing.T) {
			out, err := sandbox.Run(t.Context(), c.timeout, c.behaviour)
			if string(out) != c.out {
				t.Errorf("output of %d bytes, want %d", len(out), len(c.out))
			}
			if c.err == "" && err != nil ||
				c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) ||
				err != nil && strings.HasPrefix(c.behaviour, "reports") && err.Error() != c.err {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sandbox.Run(ctx, 5*time.Minute, "sleeps"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
}

func TestStart(t *testing.T) {
	t.Setenv("SANDBOX_TEST_CHILD", "1")
	start := func(behaviour string, timeout time.Duration) *sandbox.Stream {
		s, err := sandbox.Start(context.Background(), timeout, behaviour)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		behaviour string
		out       int // bytes
		err       string
		timeout   time.Duration
	}{
		{"succeeds", len("an answer"), "", 5 * time.Minute},
		{"prints too much", 4 << 20, "", 5 * time.Minute}, // a stream has no bound
		{"reports an error", 0, "the file is bad", 5 * time.Minute},
		{"panics", 0, "crashed", 5 * time.Minute},
		{"sleeps", 0, "took longer than 100ms", 100 * time.Millisecond},
	} {
		s := start(c.behaviour, c.timeout)
		out, readErr := io.ReadAll(s)
		err := s.Close()
		if readErr != nil || len(out) != c.out || (err == nil) != (c.err == "") ||
			err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %d bytes, %v, %v", c.behaviour, len(out), readErr, err)
		}
		if again := s.Close(); (again == nil) != (err == nil) {
			t.Errorf("%s: the second Close returns %v", c.behaviour, again)
		}
	}
	// Closing early ends the child, and is no failure.
	for _, behaviour := range []string{"sleeps", "prints too much"} {
		s := start(behaviour, 5*time.Minute)
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", behaviour, err)
		}
	}
}
