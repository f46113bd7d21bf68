package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/internal/sandbox"
)

// The test binary is its own child: the environment says so, the argument says what befalls it.
func TestMain(m *testing.M) {
	if os.Getenv("APART_TEST_CHILD") == "1" {
		child(os.Args[1])
		return
	}
	goleak.VerifyTestMain(m)
}

var sink [][]byte

func child(fate string) {
	if err := sandbox.Limit(2<<30, time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "relish:", err)
		os.Exit(1)
	}
	switch fate {
	case "well":
		fmt.Print("an answer")
	case "floods":
		for range 4096 {
			fmt.Print(strings.Repeat("x", 1024))
		}
	case "words":
		fmt.Fprintln(os.Stderr, "relish: the file is bad")
		os.Exit(1)
	case "panics":
		panic("a fault")
	case "memory":
		for {
			b := make([]byte, 64<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			sink = append(sink, b)
		}
	case "processor":
		for i := 0; ; i++ {
			sink = append(sink[:0], []byte{byte(i)})
		}
	case "waits":
		select {}
	case "sleeps":
		time.Sleep(time.Hour)
	}
}

func TestRun(t *testing.T) {
	t.Setenv("APART_TEST_CHILD", "1")
	for _, c := range []struct {
		fate, out, err string
		patience       time.Duration
	}{
		{"well", "an answer", "", time.Minute},
		{"floods", strings.Repeat("x", 1<<20), "", time.Minute},
		{"words", "", "the file is bad", time.Minute},
		{"panics", "", "it crashed", time.Minute},
		{"memory", "", "more memory than it may have", time.Minute},
		{"processor", "", "it was killed", time.Minute},
		{"waits", "", "it crashed", time.Minute}, // the runtime sees that nothing can wake it
		{"sleeps", "", "longer than 100ms", 100 * time.Millisecond},
	} {
		t.Run(c.fate, func(t *testing.T) {
			out, err := sandbox.Run(t.Context(), c.patience, c.fate)
			if string(out) != c.out {
				t.Errorf("output of %d bytes, want %d", len(out), len(c.out))
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sandbox.Run(ctx, time.Minute, "sleeps"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
