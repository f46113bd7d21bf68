package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"relish/embeddings/hub"
	"relish/embeddings/onnx"
)

// startRuntime starts ONNX Runtime out of the assets folder, which it returns too.
func (f *encoderFlags) startRuntime() (rt *onnx.Runtime, assets string, err error) {
	if assets, err = f.assets(); err != nil {
		return nil, "", err
	}
	rt, err = onnx.Start(filepath.Join(assets, "onnxruntime", "libonnxruntime.so"))
	return rt, assets, err
}

// loadEncoder starts the runtime and loads the chosen encoder. The caller closes it.
func (f *encoderFlags) loadEncoder(log *slog.Logger) (*onnx.Encoder, error) {
	rt, assets, err := f.startRuntime()
	if err != nil {
		return nil, err
	}
	enc, err := rt.LoadEncoder(f.encoderDir(assets), onnx.EncoderOptions{
		Device: f.Device, MaxTokens: f.MaxTokens, GPUMemLimit: f.GPUMemLimit,
	})
	if err != nil {
		return nil, err
	}
	if why := enc.FallbackReason(); why != "" {
		log.Warn("the encoder runs on the CPU", "reason", why)
	}
	return enc, nil
}

// encoderDir resolves --encoder: a folder as it is, a name below assets/encoder.
func (f *encoderFlags) encoderDir(assets string) string {
	name := f.Encoder
	if name == "" {
		name = "int8"
		fp32 := filepath.Join(assets, "encoder", "fp32")
		if _, err := os.Stat(fp32); err == nil && strings.HasPrefix(f.Device, "cuda") {
			name = "fp32"
		}
	}
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		return name
	}
	return filepath.Join(assets, "encoder", filepath.FromSlash(name))
}

type encoderCmd struct {
	Pull pullCmd `cmd:"" help:"Fetch an encoder from the Hugging Face hub (HF_ENDPOINT, HF_TOKEN)."`
}

type pullCmd struct {
	encoderFlags
	Name string `arg:"" help:"NAME[@REVISION], e.g. sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2."`
}

// Run fetches the encoder below the assets folder and says how to use it.
func (c *pullCmd) Run(ctx context.Context) error {
	assets, err := c.assets()
	if err != nil {
		return err
	}
	name, revision, _ := strings.Cut(c.Name, "@")
	if revision == "" {
		revision = "main"
	}
	dir := filepath.Join(assets, "encoder", filepath.FromSlash(name))
	p := newProgress("pull " + name)
	defer p.end()
	err = hub.Pull(ctx, hub.Options{Name: name, Revision: revision, Dir: dir,
		Progress: func(_ string, done, total int64) { p.set(int(done), int(total)) }})
	if err != nil {
		return err
	}
	fmt.Printf("%s is in %s; use it with --encoder %s\n", c.Name, dir, name)
	return nil
}
