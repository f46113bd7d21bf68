package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"relish/internal/sandbox"
)

// probeMemoryFactor is how many times the size of its files a bundle may take in memory: the bytes,
// what is made of them, and garbage.
const probeMemoryFactor = 4

// ProbeInSandbox tries the bundle in dir in a child process, and returns why it must not be served.
// The child is this binary, started with args and the folder's path; it calls ProbeChild. After
// timeout it is killed.
func ProbeInSandbox(ctx context.Context, dir string, timeout time.Duration, args ...string) error {
	answer, err := sandbox.Run(ctx, timeout, append(args, dir)...)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(answer)) != filepath.Base(dir) {
		return errors.New("the child process that tried the bundle exited before it was done")
	}
	return nil
}

// ProbeLimits bound the process that tries a bundle.
type ProbeLimits struct {
	Memory uint64        // bytes, beside 4 times the size of the bundle's files
	CPU    time.Duration // of processor time, and as much again for every GiB of files
}

// ProbeChild is the work of the child process that ProbeInSandbox starts. It limits its process for
// good, loads the bundle, runs its probe, and prints the bundle's version if everything is as
// recorded.
//
// native checks the parts of the bundle that run in native libraries, such as a fine-tuned encoder,
// just as the serving process would load them. nil: there are none.
func ProbeChild(
	ctx context.Context, dir string, load SignalLoader, limits ProbeLimits,
	native func(ctx context.Context, dir string, b *Bundle) error,
) error {
	m, err := ReadManifest(dir)
	if err != nil {
		return err
	}
	size := m.size() // bounded by MaxBytes
	memory := limits.Memory + probeMemoryFactor*uint64(size)
	if err := sandbox.Limit(memory, limits.CPU*time.Duration(1+size>>30)); err != nil {
		return err
	}
	b, err := Load(dir, load)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Probe(ctx); err != nil {
		return err
	}
	if native != nil {
		if err := native(ctx, dir, b); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(os.Stdout, b.Model.Version)
	return err
}
