package onnx

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/viterin/vek/vek32"

	tm "relish/internal/onnxtest/testmodel"
)

const cache = "../../.cache"

func start(t testing.TB) *Runtime {
	t.Helper()
	rt, err := Start(filepath.Join(cache, "onnxruntime", "libonnxruntime.so"))
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// loadEncoder loads the encoder in dir.
func loadEncoder(ctx context.Context, rt *Runtime, dir string, o EncoderOptions) (*Encoder, error) {
	f, err := ReadEncoderFiles(dir, 0)
	if err != nil {
		return nil, err
	}
	return rt.NewEncoder(ctx, f, o)
}

func encoder(t testing.TB, dir string, opt EncoderOptions) *Encoder {
	t.Helper()
	e, err := loadEncoder(t.Context(), start(t), dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func int8Encoder(t testing.TB) *Encoder {
	return encoder(t, filepath.Join(cache, "encoder", "int8"), EncoderOptions{Device: "cpu"})
}

func encode(t testing.TB, e *Encoder, texts ...string) [][]float32 {
	t.Helper()
	var batch [][]int32
	var out [][]float32
	for _, s := range texts {
		batch = append(batch, e.Tokenize(nil, s))
		out = append(out, make([]float32, e.Dim()))
	}
	if err := e.Run(t.Context(), batch, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The similarities of three sentences: as the model card publishes them for fp32, and as measured
// for the quantized model. The latter move a little, since processors have different instructions.
func TestPublishedSimilarities(t *testing.T) {
	for _, c := range []struct {
		name      string
		want      [3]float64
		tolerance float64
	}{
		{"fp32", [3]float64{0.6660, 0.1046, 0.1411}, 0.0002},
		{"int8", [3]float64{0.6537, 0.1207, 0.1523}, 0.02},
	} {
		e := encoder(t, filepath.Join(cache, "encoder", c.name), EncoderOptions{Device: "cpu"})
		v := encode(t, e, "The weather is lovely today.",
			"It's so sunny outside!", "\x48e drove to the stadium.")
		got := [3]float64{
			float64(vek32.Dot(v[0], v[1])),
			float64(vek32.Dot(v[0], v[2])),
			float64(vek32.Dot(v[1], v[2])),
		}
		for i, want := range c.want {
			if math.Abs(got[i]-want) > c.tolerance {
				t.Errorf("%s: similarity %d is %.4f, published %.4f", c.name, i, got[i], want)
			}
		}
	}
}

func TestConcurrentRuns(t *testing.T) {
	e := int8Encoder(t)
	want := encode(t, e, "a sailing boat")[0]
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				out := [][]float32{make([]float32, e.Dim())}
				ids := e.Tokenize(nil, "a sailing boat")
				if err := e.Run(context.Background(), [][]int32{ids}, out); err != nil {
					t.Error(err)
				} else if vek32.Dot(out[0], want) < 0.9999 {
					t.Error("a concurrent run gave another vector")
				}
			}
		})
	}
	wg.Wait()
}

func TestEmptyAndTooLong(t *testing.T) {
	e := int8Encoder(t)
	for _, s := range []string{"", "  \t", "\u200b\u0001"} {
		if ids := e.Tokenize(nil, s); len(ids) != 0 {
			t.Errorf("%q gave %v", s, ids)
		}
	}
	prompted, err := loadEncoder(t.Context(), start(t), copyEncoder(t, tm.Loop(), map[string]string{
		"config_sentence_transformers.json": `{"prompts":{"query":"represent this: "},` +
			`"default_prompt_name":"query"}`,
	}), EncoderOptions{Device: "cpu", Sessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer prompted.Close()
	for s, want := range map[string]bool{"": false, " \u200b": false, "x": true} {
		if ids := prompted.Tokenize([]int32{7}, s); (len(ids) > 1) != want || ids[0] != 7 {
			t.Errorf("with a prompt, %q gave %v", s, ids)
		}
	}
	if err := e.Run(t.Context(), [][]int32{{}}, [][]float32{nil}); err == nil {
		t.Error("an empty row was accepted")
	}
	if ids := e.Tokenize(nil, strings.Repeat("word ", 5000)); len(ids) != e.MaxTokens() {
		t.Errorf("%d tokens", len(ids))
	}
	for n := 1; n <= e.MaxTokens(); n++ {
		if b := e.Bucket(n); b < n || b > e.MaxTokens() {
			t.Errorf("bucket of %d is %d", n, b)
		}
	}
}

func TestCancel(t *testing.T) {
	e := int8Encoder(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := [][]float32{make([]float32, e.Dim())}
	err := e.Run(ctx, [][]int32{e.Tokenize(nil, "x y z")}, out)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// All sessions are in use: a caller waits no longer than its deadline.
	var held []*session
	for range e.Parallel() {
		held = append(held, <-e.sessions.Load().idle)
	}
	if err := e.Run(ctx, [][]int32{e.Tokenize(nil, "x")}, out); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, s := range held {
		e.sessions.Load().put(s)
	}
	encode(t, e, "the encoder works again")
}

// The threads of a session do not spin while they wait: they would take the cores from everything
// else.
func TestSessionsDoNotSpin(t *testing.T) {
	start(t)
	so, err := newSessionOptions(device{}, 1, &EncoderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer so.Destroy()
	for _, threads := range []string{"intra_op", "inter_op"} {
		key := "session." + threads + ".allow_spinning"
		if v, err := so.GetSessionConfigEntry(key); err != nil || v != "0" {
			t.Errorf("%s is %q, %v, want 0", key, v, err)
		}
	}
}

// Close waits for the runs in progress, and for runs that wait for a session it is an error.
func TestCloseEncoderDuringRuns(t *testing.T) {
	rt := start(t)
	before := rt.OpenSessions()
	e := encoder(t, filepath.Join(cache, "encoder", "int8"),
		EncoderOptions{Device: "cpu", Sessions: 2})
	if n := rt.OpenSessions(); n != before+1 {
		t.Errorf("%d native sessions are open, want one more than %d for both runs", n, before)
	}
	ids := e.Tokenize(nil, "a sailing boat")
	started := make(chan struct{}, 4)
	var runs sync.WaitGroup
	for range 4 {
		runs.Go(func() {
			for n := 0; ; n++ {
				err := e.Run(context.Background(), [][]int32{ids},
					[][]float32{make([]float32, e.Dim())})
				if n == 0 {
					started <- struct{}{}
				}
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	<-started
	e.Close()
	runs.Wait()
	if n := rt.OpenSessions(); n != before {
		t.Errorf("%d sessions are open, %d were before", n, before)
	}
}

func TestDevice(t *testing.T) {
	for in, want := range map[string]device{
		"":       {cuda: true},
		"auto":   {cuda: true},
		"cpu":    {},
		"cuda":   {cuda: true, explicit: true},
		"cuda:2": {cuda: true, index: 2, explicit: true},
	} {
		if got, err := parseDevice(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"gpu", "cuda:x", "cuda:-1", "cpu:1"} {
		if _, err := parseDevice(in); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
	e := encoder(t, filepath.Join(cache, "encoder", "int8"), EncoderOptions{Device: "cuda"})
	if e.Device() == "cpu" && !strings.Contains(e.FallbackReason(), cudaLibrary) {
		t.Errorf("the fallback reason is %q", e.FallbackReason())
	}
	if e := int8Encoder(t); e.FallbackReason() != "" {
		t.Errorf("the device is cpu, fallback reason %q", e.FallbackReason())
	}
}

// copyEncoder returns a folder with the real encoder's tokenizer, the given model and more files.
func copyEncoder(t *testing.T, model []byte, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	tok, err := os.ReadFile(filepath.Join(cache, "encoder", "int8", "tokenizer.json"))
	if err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	for name, data := range more {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644)
	}
	os.WriteFile(filepath.Join(dir, "tokenizer.json"), tok, 0o644)
	os.WriteFile(filepath.Join(dir, "model.onnx"), model, 0o644)
	return dir
}

func TestFolderFiles(t *testing.T) {
	dir := copyEncoder(t, []byte("x"), map[string]string{
		"1_Pooling/config.json":     `{"pooling_mode_cls_token":true}`,
		"sentence_bert_config.json": `{"max_seq_length":64}`,
		"config_sentence_transformers.json": `{"prompts":{"query":"q: "},` +
			`"default_prompt_name":"query"}`,
	})
	f, err := ReadEncoderFiles(dir, 128)
	if err != nil || f.Pooling != "cls" || f.MaxTokens != 64 || f.Prompt != "q: " {
		t.Errorf("%+v, %v", f, err)
	}
	plain, err := ReadEncoderFiles(copyEncoder(t, []byte("x"), nil), 128)
	if err != nil || plain.Pooling != "mean" || plain.Digest() == f.Digest() {
		t.Errorf("%+v, %v", plain, err)
	}
	maxPooling := copyEncoder(t, []byte("x"), map[string]string{
		"1_Pooling/config.json": `{"pooling_mode_max_tokens":true}`,
	})
	if _, err := ReadEncoderFiles(maxPooling, 128); err == nil {
		t.Error("max pooling was accepted")
	}
}

func BenchmarkRun(b *testing.B) {
	e := int8Encoder(b)
	const text = "a title of about fourteen tokens, like most of the titles are here"
	for _, c := range []struct {
		name string
		rows int
	}{{"1x16", 1}, {"16x16", 16}} {
		b.Run(c.name, func(b *testing.B) {
			out := make([][]float32, c.rows)
			for i := range out {
				out[i] = make([]float32, e.Dim())
			}
			b.ReportAllocs()
			for b.Loop() {
				batch := make([][]int32, c.rows)
				for i := range batch {
					batch[i] = e.Tokenize(nil, text)
				}
				if err := e.Run(b.Context(), batch, out); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*c.rows)/b.Elapsed().Seconds(), "texts/s")
		})
	}
}
