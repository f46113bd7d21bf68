package onnx

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	ort "github.com/yalue/onnxruntime_go"
	"golang.org/x/sys/cpu"
)

// countingSession counts its runs. If padded is set, the output depends on the padded length, as on
// a processor where sums over more padding round differently.
type countingSession struct {
	nativeSession
	runs   *atomic.Int64
	padded bool
}

func (s countingSession) RunWithOptions(in, out []ort.Value, opt *ort.RunOptions) error {
	s.runs.Add(1)
	err := s.nativeSession.RunWithOptions(in, out, opt)
	if s.padded && err == nil {
		length := float32(in[0].GetShape()[1])
		states := out[0].(*ort.Tensor[float32]).GetData()
		for i := range states {
			states[i] += length / 1024
		}
	}
	return err
}

// Texts of any lengths share a run, unless padding changes their vectors. Then each length is a run
// of its own.
func TestTextsShareRunsIfPaddingChangesNoBit(t *testing.T) {
	for name, padded := range map[string]bool{"the same": false, "other bits": true} {
		t.Run(name, func(t *testing.T) {
			var runs atomic.Int64
			open := func(e *Encoder, d device) (nativeSession, error) {
				native, err := openSession(e, d)
				return countingSession{native, &runs, padded}, err
			}
			e := encoder(t, filepath.Join(cache, "encoder", "int8"),
				EncoderOptions{Device: "cpu", Sessions: 1, open: open})
			if cpu.X86.HasAVX2 && e.MixesBuckets() == padded {
				t.Errorf("texts of several lengths share a run: %t", !padded)
			}
			texts := variedTexts(rand.New(rand.NewPCG(1, 2)))
			var alone [][]float32
			lengths := map[int]bool{}
			for _, s := range texts {
				alone = append(alone, encode(t, e, s)[0])
				lengths[len(e.Tokenize(nil, s))] = true
			}
			runs.Store(0)
			if !slices.EqualFunc(encode(t, e, texts...), alone, slices.Equal) {
				t.Error("texts have other vectors in a batch")
			}
			want := int64(1)
			if !e.MixesBuckets() {
				want = int64(len(lengths))
			}
			if n := runs.Load(); n != want {
				t.Errorf("a batch took %d runs, want %d", n, want)
			}
		})
	}
}
