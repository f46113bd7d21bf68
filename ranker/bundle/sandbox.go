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

// probeMemoryFactor is how many times its files a bundle may take in memory: their bytes, what is made of them, and garbage.
const probeMemoryFactor = 4

// ProbeInSandbox tries a bundle in a process of its own: this binary, started with args and the folder's path, which calls Try. It
// waits for it no longer than patience, and returns why the bundle must not be served.
func ProbeInSandbox(ctx context.Context, dir string, patience time.Duration, args ...string) error {
	answer, err := sandbox.Run(ctx, patience, append(args, dir)...)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(answer)) != filepath.Base(dir) {
		return errors.New("the process that tried it ended before it was done")
	}
	return nil
}

// ProbeChild is the work of the process that TryApart starts, and of no other: it limits the process for good. A bundle may take memory
// bytes and 4 times its files' size, and cpu of processor time and as much again for every GiB of files. encoder tries
// the bundle's own text encoder, where it has one. If all does what it did where it was made, its version is printed.
func ProbeChild(ctx context.Context, dir string, open SignalOpener, encoder func(ctx context.Context, dir string) error, memory uint64, cpu time.Duration) error {
	m, err := ReadManifest(dir)
	if err != nil {
		return err
	}
	size := m.size() // which is bounded
	if err := sandbox.Limit(memory+probeMemoryFactor*uint64(size), cpu*time.Duration(1+size>>30)); err != nil {
		return err
	}
	b, err := Load(dir, open)
	if err != nil {
		return err
	}
	if err := b.Probe(ctx); err != nil {
		return err
	}
	if m.Encoder.FineTuned {
		if err := encoder(ctx, dir); err != nil {
			return fmt.Errorf("its text encoder: %w", err)
		}
	}
	_, err = fmt.Fprintln(os.Stdout, b.Model.Version)
	return err
}
