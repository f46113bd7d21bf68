package app

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"testing"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/internal/onnxtest"
	"relish/ranker"
)

// failingModel is an encoder that loads and then fails on every text.
type failingModel struct{ *onnx.Encoder }

func (failingModel) Run(context.Context, [][]int32, [][]float32) error {
	return errors.New("device lost")
}

// An encoder that fails on every text is named in the readiness of the service, which stays ready.
func TestFailingEncoderIsReported(t *testing.T) {
	encoder, err := onnxtest.Start(t).NewEncoder(t.Context(), onnxtest.EncoderFiles(t, "int8"),
		onnx.EncoderOptions{Device: "cpu", Sessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	log := slog.New(slog.DiscardHandler)
	vectors, err := embeddings.New(failingModel{encoder}, embeddings.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer vectors.Close(t.Context())
	noItems := func(context.Context) iter.Seq2[*ranker.ItemInfo, error] {
		return func(func(*ranker.ItemInfo, error) bool) {}
	}
	pool := finetuned.NewEncoderPool(finetuned.Options{}, vectors, noItems)
	defer pool.Close(t.Context())
	e := &Engine{Vectors: vectors, encoder: encoder, pool: pool}
	if check := encoderCheck(e); !check.OK || check.Detail != "cpu" {
		t.Errorf("before the failure: %+v", check)
	}
	if _, err := vectors.Text(t.Context(), "a sailing boat"); err == nil {
		t.Error("the encoder does not fail")
	}
	if check := encoderCheck(e); !check.OK || !strings.Contains(check.Detail, "device lost") ||
		!strings.HasPrefix(check.Detail, "degraded") {
		t.Errorf("after the failure: %+v", check)
	}
}
