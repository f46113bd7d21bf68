package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// dataFlags name the data folder.
type dataFlags struct {
	Data string `help:"Folder of the event log, checkpoint and vectors. One process at a time writes it." default:"data" type:"path" placeholder:"DIR"`
}

// encoderFlags choose the text encoder.
type encoderFlags struct {
	Assets      string `help:"Folder of the runtime and the encoders. Default: the cache folder next to the binary, so that it works from any working directory." type:"path" placeholder:"DIR"`
	Encoder     string `help:"Text encoder: int8, fp32, or the folder of any BERT-family one. Default: int8 on a CPU, where it is 4 times faster at 99.5 % of the quality, fp32 on a GPU, when present." placeholder:"NAME|DIR"`
	Device      string `help:"auto, cpu, cuda or cuda:N. auto takes a GPU when the CUDA libraries are there." default:"auto"`
	GPUMemLimit int64  `help:"Bytes of GPU memory the runtime may take; 0 = no limit. Leave room when others share the card." name:"gpu-mem-limit" default:"0"`
	MaxTokens   int    `help:"Longest text in tokens; what is beyond is cut. Cost grows with it, and 128 holds a title, tags and two paragraphs." default:"128"`
	CacheBytes  int64  `help:"Memory for vectors at hand. 1,600 bytes an item; what does not fit is read from the vector table." default:"268435456"`
	NoText      bool   `help:"Run without a text encoder: behaviour only."`
}

// assets returns the folder of runtime and encoders.
func (f *encoderFlags) assets() (string, error) {
	if f.Assets != "" {
		return f.Assets, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("assets: %w; name the folder with --assets", err)
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return filepath.Join(filepath.Dir(filepath.Dir(exe)), ".cache"), nil
}

// logFlags choose the log's form.
type logFlags struct {
	LogFormat string `help:"text for people, json for machines." enum:"text,json" default:"text"`
	LogLevel  string `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
}

func (f *logFlags) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel))
	opt := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opt))
}

// printJSON writes v as one line to standard output.
func printJSON(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// shutdownTime bounds how long closing may take after the work is done.
const shutdownTime = 15 * time.Second
