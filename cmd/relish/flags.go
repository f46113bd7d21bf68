package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"relish/internal/app"
)

// Flag groups that several commands share. Each converts itself into the options of internal/app.

// dataFlags name the data folder.
type dataFlags struct {
	Data string `help:"Data folder. Only one process at a time may write to it." default:"data" type:"path" placeholder:"DIR"`
}

// announce says on standard error that a command creates the data folder. It returns an error if
// the path is not a folder.
func (f *dataFlags) announce() error {
	create, err := app.WillCreateData(f.Data)
	if create {
		fmt.Fprintf(os.Stderr, "there is no folder %s yet; it is created\n", f.Data)
	}
	return err
}

// check returns an error unless the data folder is there.
func (f *dataFlags) check() error { return app.CheckData("--data", f.Data) }

// storeFlags say where the feature state is kept.
type storeFlags struct {
	dataFlags
	Redis            string        `help:"Share the feature state of several replicas in Redis or Redis Cluster. Each keeps its own --data." placeholder:"URL"`
	RedisReadTimeout time.Duration `help:"Longest wait for Redis in one ranking; after it, local copies are used." default:"${redis_read_timeout}" placeholder:"DURATION"`
	StateCacheBytes  int64         `help:"Memory for local copies of the state in Redis." default:"268435456" placeholder:"BYTES"`
	AcceptClock      bool          `help:"Confirm that the clock is right, although it is more than 30 days ahead of the newest event."`
}

func (f *storeFlags) options() app.StoreOptions {
	return app.StoreOptions{
		Data: f.Data, Redis: f.Redis, RedisReadTimeout: f.RedisReadTimeout,
		StateCacheBytes: f.StateCacheBytes, AcceptClock: f.AcceptClock,
	}
}

// bundleFlags say where the bundles are.
type bundleFlags struct {
	Bundles string `help:"Folder of trained bundles. Replicas may share one (default: bundles, in the data folder)." type:"path" placeholder:"DIR"`
}

// encoderFlags choose the text encoder, see app.EncoderOptions.
type encoderFlags struct {
	Assets      string `help:"Folder of ONNX Runtime, LightGBM and encoders (default: .cache, beside the binary's folder)." type:"path" placeholder:"DIR"`
	Encoder     string `help:"Text encoder: auto (by catalogue and device), int8, fp32, a pulled one, or a folder." default:"auto" placeholder:"NAME|DIR"`
	Device      string `help:"auto, cpu, cuda or cuda:N. auto takes a GPU if the CUDA libraries are found." default:"auto" placeholder:"DEVICE"`
	GPUMemLimit int64  `help:"GPU memory that the encoder may use; 0 means no limit." name:"gpu-mem-limit" default:"0" placeholder:"BYTES"`
	MaxTokens   int    `help:"Longest text, in tokens. The rest of a longer text is not read." default:"128" placeholder:"N"`
	CacheBytes  int64  `help:"Memory for text vectors, 1,600 bytes each. Other vectors are read from disk." default:"268435456" placeholder:"BYTES"`
	NoText      bool   `help:"Do without a text encoder and rank by behaviour alone."`
}

// options returns the options without the data folder, which package app knows.
func (f *encoderFlags) options() app.EncoderOptions {
	return app.EncoderOptions{
		Assets: f.Assets, Encoder: f.Encoder, Device: f.Device, GPUMemLimit: f.GPUMemLimit,
		MaxTokens: f.MaxTokens, CacheBytes: f.CacheBytes, NoText: f.NoText,
	}
}

// logFlags choose the format of the log that a command writes to standard error.
type logFlags struct {
	LogFormat string `help:"Log format: text or json." enum:"text,json" default:"text" placeholder:"FORMAT"`
	LogLevel  string `help:"Lowest level that is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL"`
}

func (f *logFlags) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel)) // kong has checked it
	opt := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opt))
}
