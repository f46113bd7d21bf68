package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/gomlx/backends"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/internal/sha256sums"
	"relish/training/engine"
	"relish/training/gbdt"
)

// EncoderOptions choose the text encoder, the device that it runs on, and the folder of the native
// libraries.
type EncoderOptions struct {
	// Assets is the folder of ONNX Runtime, LightGBM and the encoders. If it is empty, it is .cache
	// beside the folder of the binary, whatever the working directory is.
	Assets string
	// Encoder is the name of an encoder in Assets/encoder, or the folder of one. auto is the one of
	// encoderFile in the data folder. Without this file, auto is bge-small-zh if that was pulled
	// and the catalogue is mostly Chinese. Otherwise it is fp32 on a GPU, and else int8: on a CPU
	// that is twice as fast, with a cosine of .995.
	Encoder     string
	Device      string // auto, cpu, cuda or cuda:N
	GPUMemLimit int64  // bytes of GPU memory; 0: no limit
	MaxTokens   int    // longest text; the rest of a longer one is not read
	CacheBytes  int64  // memory for vectors, 1,600 bytes each
	NoText      bool   // use no text encoder
	// Data is the data folder whose catalogue auto looks at; "": none.
	Data string
}

// AssetsFolder returns the folder of the native libraries and the encoders.
func (o *EncoderOptions) AssetsFolder() (string, error) {
	if o.Assets != "" {
		return o.Assets, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find the folder of the binary: %w; "+
			"name the assets folder with --assets", err)
	}
	if target, err := filepath.EvalSymlinks(exe); err == nil {
		exe = target
	}
	return filepath.Join(filepath.Dir(filepath.Dir(exe)), ".cache"), nil
}

// Runtime starts ONNX Runtime. A process starts it once; later calls return the same one.
func (o *EncoderOptions) Runtime() (*onnx.Runtime, error) {
	assets, err := o.AssetsFolder()
	if err != nil {
		return nil, err
	}
	return onnx.Start(filepath.Join(assets, "onnxruntime", "libonnxruntime.so"))
}

// Load starts ONNX Runtime and loads the encoder, after a child process has tried it. It logs a
// warning if the encoder falls back to the CPU, now or later. The caller closes the encoder.
func (o *EncoderOptions) Load(ctx context.Context, log *slog.Logger) (*onnx.Encoder, error) {
	runtime, err := o.Runtime()
	if err != nil {
		return nil, err
	}
	dir, err := o.Folder()
	if err != nil {
		return nil, err
	}
	files, err := onnx.ReadEncoderFiles(dir, o.MaxTokens)
	if err != nil {
		return nil, err
	}
	if err := o.probeEncoder(ctx, dir, files); err != nil {
		return nil, fmt.Errorf("encoder %s: %w", dir, err)
	}
	encoder, err := runtime.NewEncoder(ctx, files, o.native(log))
	if err != nil {
		return nil, fmt.Errorf("encoder %s: %w", dir, err)
	}
	if reason := encoder.FallbackReason(); reason != "" {
		warnOfFallback(log, reason)
	}
	return encoder, nil
}

// native says how an encoder runs.
func (o *EncoderOptions) native(log *slog.Logger) onnx.EncoderOptions {
	return onnx.EncoderOptions{
		Device: o.Device, GPUMemLimit: o.GPUMemLimit,
		OnFallback: func(reason string) { warnOfFallback(log, reason) },
	}
}

func warnOfFallback(log *slog.Logger, reason string) {
	log.Warn("a text encoder runs on the CPU", "reason", reason)
}

// Folder returns the folder of the chosen encoder.
func (o *EncoderOptions) Folder() (string, error) {
	assets, err := o.AssetsFolder()
	if err != nil {
		return "", err
	}
	name := o.Encoder
	if o.isAutomatic() {
		if name, err = o.automaticEncoder(assets); err != nil {
			return "", err
		}
		return filepath.Join(assets, "encoder", name), nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return name, nil
	}
	return filepath.Join(assets, "encoder", filepath.FromSlash(name)), nil
}

// openBackend opens the engine that trains neural models, on a GPU if Device names one. The caller
// finalizes it.
func (o *EncoderOptions) openBackend() (backends.Backend, error) {
	runtime, err := o.Runtime()
	if err != nil {
		return nil, err
	}
	device := "cpu"
	if strings.HasPrefix(o.Device, "cuda") {
		device = o.Device
	}
	return engine.Open(runtime, device, engine.Options{})
}

// openLightGBM loads the library that trains decision trees.
func (o *EncoderOptions) openLightGBM() (*gbdt.Library, error) {
	assets, err := o.AssetsFolder()
	if err != nil {
		return nil, err
	}
	return gbdt.Open(filepath.Join(assets, "lightgbm", "lib_lightgbm.so"))
}

// finetunedOptions say how the fine-tuned encoders of bundles run: on the device of base.
func (o *EncoderOptions) finetunedOptions(
	base *onnx.Encoder, vectors embeddings.Options, log *slog.Logger,
) (finetuned.Options, error) {
	runtime, err := o.Runtime()
	return finetuned.Options{
		Runtime: runtime,
		Encoder: o.native(log),
		FP32:    strings.HasPrefix(base.Device(), "cuda"),
		Vectors: vectors,
	}, err
}

// openVectors opens the vectors of a data folder for reading, beside a running service.
func (o *EncoderOptions) openVectors(
	data string, encoder *onnx.Encoder, log *slog.Logger,
) (*embeddings.Service, error) {
	return embeddings.New(encoder, embeddings.Options{
		Dir: filepath.Join(data, "vectors"), ReadOnly: true, CacheBytes: o.CacheBytes, Log: log,
	})
}

// CheckEncoder loads the encoder and encodes a short text. It returns a description of the encoder,
// and advice if the encoder does not know the language of the catalogue.
func (o *EncoderOptions) CheckEncoder(ctx context.Context, log *slog.Logger) (string, error) {
	encoder, err := o.Load(ctx, log)
	if err != nil {
		return "", err
	}
	defer encoder.Close()
	vectors, err := embeddings.New(encoder, embeddings.Options{Log: log})
	if err != nil {
		return "", err
	}
	defer vectors.Close(ctx)
	if _, err := vectors.Text(ctx, "a probe"); err != nil {
		return "", err
	}
	checked := "files as in " + sha256sums.File
	if !encoder.Checked() {
		checked = "no " + sha256sums.File + ", so damage of its files goes unnoticed"
	}
	advice, err := o.languageAdvice(encoder)
	if err != nil {
		return "", err
	}
	dir, err := o.Folder()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d dimensions on %s, digest %.12s, %s%s", filepath.Base(dir),
		encoder.Dim(), encoder.Device(), encoder.Digest(), checked, advice), nil
}
