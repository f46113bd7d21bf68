package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"relish/embeddings/onnx"
	"relish/internal/sandbox"
)

const (
	// probeEncoderFactor is how many times the size of its model an encoder may take in memory, as
	// for a bundle: the bytes, what the runtime makes of them, and garbage.
	probeEncoderFactor = 4
	// probeRunTimeout ends a run of a model that is tried. A run has a few short texts.
	probeRunTimeout = 30 * time.Second
)

// probeEncoder tries the encoder in dir in a child process, and returns why it must not be used.
// The child loads the encoder on the CPU and encodes some texts, with limits on memory, processor
// time and wall-clock time. A hostile model may crash that process without harm to this one. files
// are what this process has read from dir: the child must have tried the same.
func (o *EncoderOptions) probeEncoder(
	ctx context.Context, dir string, files *onnx.EncoderFiles,
) error {
	assets, err := o.AssetsFolder()
	if err != nil {
		return err
	}
	args := []string{"probe-encoder", "--assets", assets, dir}
	if o.MaxTokens > 0 {
		args = append(args, "--max-tokens", strconv.Itoa(o.MaxTokens))
	}
	answer, err := sandbox.Run(ctx, probeDeadline, args...)
	if err != nil {
		return fmt.Errorf("trying it in a child process: %w", err)
	}
	if strings.TrimSpace(string(answer)) != files.Digest() {
		return errors.New("its files have changed while they were read: start again")
	}
	return nil
}

// ProbeEncoderChild is what the child process of probeEncoder does. It limits its process for good
// and prints the digest of the encoder in dir if that works.
func (o *EncoderOptions) ProbeEncoderChild(ctx context.Context, dir string) error {
	memory := uint64(probeMemory)
	if st, err := os.Lstat(filepath.Join(dir, onnx.ModelFile)); err == nil {
		memory += probeEncoderFactor * uint64(min(st.Size(), onnx.MaxModelBytes))
	}
	if err := sandbox.Limit(memory, probeCPUTime); err != nil {
		return err
	}
	files, err := onnx.ReadEncoderFiles(dir, o.MaxTokens)
	if err != nil {
		return err
	}
	runtime, err := o.Runtime()
	if err != nil {
		return err
	}
	encoder, err := runtime.NewEncoder(ctx, files, onnx.EncoderOptions{
		Device: "cpu", Sessions: 1, RunTimeout: probeRunTimeout,
	})
	if err != nil {
		return err
	}
	defer encoder.Close()
	_, err = fmt.Println(encoder.Digest())
	return err
}
