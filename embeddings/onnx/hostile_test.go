package onnx

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/viterin/vek/vek32"

	tm "relish/internal/onnxtest/testmodel"
	"relish/internal/sha256sums"
)

func loadError(t *testing.T, dir string) string {
	t.Helper()
	e, err := loadEncoder(t.Context(), start(t), dir, EncoderOptions{Device: "cpu", Sessions: 1})
	if err == nil {
		e.Close()
		return ""
	}
	return err.Error()
}

// wantRefused fails the test if the encoder in dir is loaded, or if the error lacks some text.
func wantRefused(t *testing.T, name, dir, want string) {
	t.Helper()
	if got := loadError(t, dir); got == "" || !strings.Contains(got, want) {
		t.Errorf("%s: %q, want an error with %q", name, got, want)
	}
}

// encoderWith is a model with the given inputs and output, which computes little.
func encoderWith(inputs, output []byte) []byte {
	toFloat := tm.IntegerAttribute("to", tm.FloatType)
	return tm.Model(tm.Node("Cast", "out", []string{inputIDs}, toFloat), inputs, output)
}

func TestBadModels(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(cache, "encoder", "int8", "model.onnx"))
	if err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	vectors := tm.Output("out", tm.FloatType, "b", 4)
	cast := tm.Node("Cast", "f", []string{inputMask}, tm.IntegerAttribute("to", tm.FloatType))
	nested := cast
	for range 10 {
		nested = tm.Node("If", "f", []string{"c"}, tm.GraphAttribute("then_branch", nested))
	}
	external := tm.Message(tm.Number(1, 1), tm.Number(2, tm.FloatType), tm.String(8, "w"),
		tm.Number(14, 1), tm.Bytes(13, tm.String(1, "location"), tm.String(2, "/etc/passwd")))
	located := tm.Message(tm.Number(1, 1), tm.Number(2, tm.FloatType), tm.Number(14, 1))
	attribute := func(tensor []byte) []byte {
		return tm.Node("Constant", "c", nil, tm.Message(tm.String(1, "value"),
			tm.Bytes(5, tensor), tm.Number(20, 4)))
	}
	for name, c := range map[string]struct {
		model []byte
		want  string
	}{
		"empty":      {nil, "no graph"},
		"text":       {[]byte("hello"), "onnxfile"},
		"truncated":  {good[:len(good)/2], ""},
		"ORT format": {append([]byte("\x10\x00\x00\x00ORTM"), make([]byte, 100)...), "onnxfile"},
		"external data of a weight": {
			tm.Model(cast, tm.States("f"), tm.TextInputs, tm.Bytes(5, external)),
			"in another file"},
		"external data without a name": {
			tm.Model(cast, tm.States("f"), tm.TextInputs, tm.Bytes(5, located)), "in another file"},
		"external data of an attribute": {
			tm.Model(attribute(external), cast, tm.States("f"), tm.TextInputs), "in another file"},
		"external data of a sparse weight": {
			tm.Model(cast, tm.States("f"), tm.TextInputs, tm.Bytes(15, tm.Bytes(1, external))),
			"in another file"},
		"external data in a nested graph": {
			tm.Model(tm.Node("If", "x", []string{"c"},
				tm.GraphAttribute("then_branch", tm.Bytes(5, external))), cast, tm.States("f"),
				tm.TextInputs), "in another file"},
		"unknown operators": {
			tm.Model(tm.NodeOf("ai.onnx.contrib", "PyOp", []string{"f"}, []string{inputMask}),
				tm.States("f"), tm.TextInputs), `"ai.onnx.contrib"`},
		"operators of the future": {
			bytes.Replace(tm.Loop(), tm.Number(2, 17), tm.Number(2, 99), 1), "opset"},
		"functions": {
			tm.Message(tm.Model(cast, tm.States("f"), tm.TextInputs),
				tm.Bytes(25, tm.String(1, "f"))), "functions of its own"},
		"a training graph": {
			tm.Message(tm.Model(cast, tm.States("f"), tm.TextInputs), tm.Bytes(20)),
			"training graph"},
		"deeply nested graphs": {tm.Model(nested), "nested"},
		"another input": {
			encoderWith(tm.Message(tm.TextInputs, tm.Input("pixels", tm.FloatType, "b")), vectors),
			`the input "pixels"`},
		"no mask": {encoderWith(tm.Input(inputIDs, tm.Int64Type, "b", "s"), vectors), "lacks"},
		"32-bit ids": {
			encoderWith(tm.Message(tm.Input(inputIDs, tm.Int32Type, "b", "s"),
				tm.Input(inputMask, tm.Int64Type, "b", "s")), vectors), "64-bit integers"},
		"one text only": {
			encoderWith(tm.Message(tm.Input(inputIDs, tm.Int64Type, 1, "s"),
				tm.Input(inputMask, tm.Int64Type, 1, "s")), vectors), "two dynamic axes"},
		"three axes": {
			encoderWith(tm.Message(tm.Input(inputIDs, tm.Int64Type, "b", "s", 1),
				tm.Input(inputMask, tm.Int64Type, "b", "s")), vectors), "two dynamic axes"},
		"an output of integers": {
			tm.Model(tm.Node("Identity", "out", []string{inputIDs}), tm.TextInputs,
				tm.Output("out", tm.Int64Type, "b", "s")), "no output"},
		"a vector of unknown size": {
			encoderWith(tm.TextInputs, tm.Output("out", tm.FloatType, "b", "d")), "no output"},
		"an enormous vector": {
			encoderWith(tm.TextInputs, tm.Output("out", tm.FloatType, "b", 1<<20)), "no output"},
		"fewer vectors than texts": {
			tm.Model(cast,
				tm.Node("ReduceMean", "m", []string{"f"}, tm.IntegerAttribute("keepdims", 0)),
				tm.Node("Expand", "out", []string{"m", "shape"}),
				tm.Integers("shape", []uint64{3}, 1, 8, 4), tm.TextInputs,
				tm.Output("out", tm.FloatType, "b", "s", 4)), "trying the model"},
		"not finite": {tm.NaN(), "not finite"},
		"constant":   {tm.Constant(), "same vector"},
	} {
		wantRefused(t, name, copyEncoder(t, c.model, nil), c.want)
	}
	if got := loadError(t, copyEncoder(t, tm.Loop(), nil)); got != "" {
		t.Errorf("a small model is refused: %s", got)
	}
	wantRefused(t, "missing", t.TempDir(), "make build")
}

// Links, pipes and devices are refused without opening what they stand for.
func TestIrregularFilesAreRefused(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"link":   func(path string) error { return os.Symlink("/etc/hostname", path) },
		"zeros":  func(path string) error { return os.Symlink("/dev/zero", path) },
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		for _, file := range []string{"model.onnx", "tokenizer.json", "1_Pooling/config.json",
			sha256sums.File} {
			dir := copyEncoder(t, tm.NaN(), map[string]string{"1_Pooling/config.json": "{}"})
			path := filepath.Join(dir, file)
			os.Remove(path)
			if err := replace(path); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, name+" "+file, dir, "regular file")
		}
	}
}

// If the folder has SHA256SUMS, every changed bit of a file is refused before anything reads the
// file.
func TestChangedFilesAreRefused(t *testing.T) {
	files := map[string]string{"1_Pooling/config.json": `{"pooling_mode_mean_tokens":true}`}
	model := tm.Loop()
	dir := copyEncoder(t, model, files)
	names := []string{"model.onnx", "tokenizer.json", "1_Pooling/config.json"}
	if err := sha256sums.Write(dir, names); err != nil {
		t.Fatal(err)
	}
	f, err := ReadEncoderFiles(dir, 0)
	if err != nil || !f.Checked {
		t.Fatalf("%+v, %v", f, err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		flipped := append([]byte(nil), model...)
		bit := rng.IntN(8 * len(flipped))
		flipped[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(filepath.Join(dir, "model.onnx"), flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadEncoderFiles(dir, 0); err == nil ||
			!strings.Contains(err.Error(), "model.onnx has another SHA-256") {
			t.Fatalf("bit %d is flipped: %v", bit, err)
		}
	}
	os.WriteFile(filepath.Join(dir, "model.onnx"), model, 0o600)
	os.Remove(filepath.Join(dir, "1_Pooling/config.json"))
	if _, err := ReadEncoderFiles(dir, 0); err == nil {
		t.Error("a file that SHA256SUMS lists may be missing")
	}
	os.WriteFile(filepath.Join(dir, sha256sums.File), []byte("no digest\n"), 0o600)
	_, err = ReadEncoderFiles(dir, 0)
	if err == nil || !strings.Contains(err.Error(), "no digest") {
		t.Errorf("a damaged SHA256SUMS: %v", err)
	}
}

// Every text has either no token or a vector of length 1.
func TestStrangeTexts(t *testing.T) {
	e := int8Encoder(t)
	tokenless := 0
	for _, text := range []string{
		"🥰", "🦄🦄🦄", "☃", "龘靐齉", "\u0378", "\ue000", "a\u0301\u0302\u0303",
		"क्षि", "\u200bx\u200b",
		"\xff\xfe", "x\x00y", "[PAD]", "[CLS] [SEP]", "...", strings.Repeat("x", 1<<20),
		strings.Repeat("x ", 1<<19), strings.Repeat("é", 1<<19), strings.Repeat("🥰", 1<<16),
	} {
		ids := e.Tokenize(nil, text)
		if len(ids) == 0 {
			tokenless++
			continue
		}
		out := [][]float32{make([]float32, e.Dim())}
		err := e.Run(t.Context(), [][]int32{ids}, out)
		if n := vek32.Norm(out[0]); err != nil || !(n > 0.999 && n < 1.001) {
			t.Errorf("%.20q with %d tokens: %v, norm %v", text, len(ids), err, n)
		}
	}
	if tokenless == 0 {
		t.Error("every text has tokens; this test wants one without")
	}
}

// A run that never ends is ended at its time limit or with its context, and its session serves
// others again.
func TestEndlessRunsEnd(t *testing.T) {
	e, err := loadEncoder(t.Context(), start(t), copyEncoder(t, tm.Loop(), nil),
		EncoderOptions{Device: "cpu", Sessions: 1, RunTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	endless, out := [][]int32{{101, tm.LoopFrom, 102}}, [][]float32{make([]float32, 1)}
	e.opt.RunTimeout = 100 * time.Millisecond
	err = e.Run(context.Background(), endless, out)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "100ms") {
		t.Errorf("without a deadline: %v", err)
	}
	e.opt.RunTimeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := e.Run(ctx, endless, out); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a deadline: %v", err)
	}
	if err := e.Run(t.Context(), [][]int32{{101, 5, 102}}, out); err != nil {
		t.Errorf("the next run: %v", err)
	}
	_, err = loadEncoder(t.Context(), start(t), copyEncoder(t, tm.Loop(), map[string]string{
		"config_sentence_transformers.json": "{}",
	}), EncoderOptions{Device: "cpu", Sessions: 1, RunTimeout: time.Nanosecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a model that is too slow is loaded: %v", err)
	}
}
