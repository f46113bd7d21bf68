package classifier_test

import (
	"bytes"
	"math"
	"runtime"
	"strings"
	"testing"

	"relish/embeddings/classifier"
)

// newHead returns a head over vectors of length 2. The second label is that of texts about money.
func newHead(words bool) *classifier.Head {
	h := &classifier.Head{
		Labels: []string{"bread", "money", "sea"}, Dim: 2, Temperature: 2,
		Weights: []float32{4, 0, 0, 4, -4, -4}, Bias: []float32{0, 0.5, 0},
	}
	if words {
		const n = 64
		h.Lexical = &classifier.Lexical{IDF: make([]float32, n), Scale: 0.5}
		h.LexicalWeights = make([]float32, n*len(h.Labels))
		for b := range h.Lexical.IDF {
			h.Lexical.IDF[b] = float32(1 + b%3)
		}
		for _, f := range classifier.CountBuckets("profit", n) {
			h.LexicalWeights[int(f.Bucket)*len(h.Labels)+1] = 9
		}
	}
	return h
}

// The probabilities are the softmax of the linear scores, divided by the temperature.
func TestProbabilities(t *testing.T) {
	h := newHead(true)
	vector := []float32{0.6, 0.8}
	for _, text := range []string{"", "profit", "Profit, the PROFIT rose", "loaves"} {
		got := make([]float64, 3)
		h.Probabilities(vector, text, got)
		scores := []float64{4 * 0.6, 4*0.8 + 0.5, -4*0.6 - 4*0.8}
		for _, f := range h.Lexical.Features(text) {
			for l := range scores {
				scores[l] += float64(f.Value * h.LexicalWeights[int(f.Bucket)*3+l])
			}
		}
		sum := 0.0
		for _, s := range scores {
			sum += math.Exp(s / 2)
		}
		for l, s := range scores {
			if want := math.Exp(s/2) / sum; math.Abs(got[l]-want) > 1e-6 {
				t.Errorf("%q: label %d has %g, want %g", text, l, got[l], want)
			}
		}
	}
}

// Word features have the length of their scale, do not depend on case and punctuation, and
// leave out buckets without a weight.
func TestLexicalFeatures(t *testing.T) {
	l := newHead(true).Lexical
	norm := 0.0
	features := l.Features("the profit rose, the loss fell")
	for _, f := range features {
		norm += float64(f.Value) * float64(f.Value)
	}
	if len(features) < 5 || math.Abs(norm-0.25) > 1e-6 {
		t.Errorf("%d features of squared length %g", len(features), norm)
	}
	a, b := l.Features("Profit ROSE!"), l.Features("profit rose")
	if len(a) != len(b) || a[0] != b[0] {
		t.Errorf("%v and %v", a, b)
	}
	for i := range l.IDF {
		l.IDF[i] = 0
	}
	if f := l.Features("profit rose"); len(f) != 0 {
		t.Errorf("features without weights: %v", f)
	}
}

func TestHeadFileRoundTrip(t *testing.T) {
	for _, words := range []bool{false, true} {
		h := newHead(words)
		data, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := classifier.DecodeHead(data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := got.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("words %v: the second file differs, %v", words, err)
		}
		for _, n := range []int{0, 5, 20, len(data) - 1} {
			if _, err := classifier.DecodeHead(data[:n]); err == nil {
				t.Errorf("words %v: the first %d bytes are accepted", words, n)
			}
		}
	}
}

func TestDecodeHeadRefuses(t *testing.T) {
	for name, spoil := range map[string]func(h *classifier.Head){
		"one label":          func(h *classifier.Head) { h.Labels = h.Labels[:1] },
		"a label twice":      func(h *classifier.Head) { h.Labels[1] = h.Labels[0] },
		"an empty label":     func(h *classifier.Head) { h.Labels[0] = "" },
		"temperature 0":      func(h *classifier.Head) { h.Temperature = 0 },
		"a number too few":   func(h *classifier.Head) { h.Bias = h.Bias[1:] },
		"an infinite weight": func(h *classifier.Head) { h.Weights[0] = float32(math.Inf(1)) },
		"no dimension":       func(h *classifier.Head) { h.Dim = 0 },
	} {
		h := newHead(true)
		spoil(h)
		data, err := h.Encode()
		if err != nil {
			continue
		}
		if _, err := classifier.DecodeHead(data); err == nil {
			t.Errorf("a head with %s is accepted", name)
		}
	}
}

// A file of any content is refused or decoded, within the bounds of its own size.
func FuzzDecodeHead(f *testing.F) {
	for _, words := range []bool{false, true} {
		data, err := newHead(words).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := classifier.DecodeHead(data)
		if err != nil {
			return
		}
		if _, err := h.Encode(); err != nil {
			t.Error(err)
		}
	})
}

// The words of a long text take no memory of their own.
func TestCountBucketsAllocations(t *testing.T) {
	text := strings.Repeat("a b ", 1<<18)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	features := classifier.CountBuckets(text, 1<<15)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<18 {
		t.Errorf("%d bytes for a text of %d", got, len(text))
	}
	sum := float32(0)
	for _, f := range features {
		sum += f.Value
	}
	if len(features) != 4 || sum != 1<<20-1 { // a, b, "a b", "b a"
		t.Errorf("%d buckets count %g words and pairs", len(features), sum)
	}
}
