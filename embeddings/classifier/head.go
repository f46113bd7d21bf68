package classifier

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/go-json-experiment/json"
	"github.com/viterin/vek/vek32"
)

// Bounds of a head.
const (
	MaxLabels     = 500
	MaxLabelBytes = 256
	maxDim        = 16384
	maxBuckets    = 1 << 20
	maxHeadBytes  = 1 << 30
)

// Head is a multinomial logistic regression over the vector and the words of a text. It is
// immutable and safe for concurrent use.
type Head struct {
	Labels []string
	Dim    int // length of a text vector
	// Temperature divides the scores before the softmax, so that probabilities agree with observed
	// frequencies (Guo et al. 2017). It is above 0.
	Temperature float64
	Weights     []float32 // labels x Dim, row-major
	Bias        []float32 // by label
	// Lexical gives the features of the words; nil: the head reads the vector alone.
	Lexical        *Lexical
	LexicalWeights []float32 // buckets x labels, row-major
}

// Probabilities writes the probability of each label into out, aligned with Labels. vector has the
// length Dim.
func (h *Head) Probabilities(vector []float32, text string, out []float64) {
	for c := range h.Labels {
		out[c] = float64(vek32.Dot(vector, h.Weights[c*h.Dim:(c+1)*h.Dim]) + h.Bias[c])
	}
	if h.Lexical != nil {
		n := len(h.Labels)
		for _, f := range h.Lexical.Features(text) {
			row := h.LexicalWeights[int(f.Bucket)*n : (int(f.Bucket)+1)*n]
			for c, w := range row {
				out[c] += float64(f.Value * w)
			}
		}
	}
	Softmax(out, h.Temperature)
}

// Softmax replaces scores by probabilities. The temperature divides the scores.
func Softmax(scores []float64, temperature float64) {
	top, sum := scores[argMax(scores)], 0.0
	for i, s := range scores {
		scores[i] = math.Exp((s - top) / temperature)
		sum += scores[i]
	}
	for i := range scores {
		scores[i] /= sum
	}
}

// headMagic begins the file of a head; its last byte is the version of the format.
const headMagic = "RLCLASS\x01"

// headShape is what stands before the numbers in the file of a head.
type headShape struct {
	Labels      []string `json:"labels"`
	Dim         int      `json:"dim"`
	Temperature float64  `json:"temperature"`
	Buckets     int      `json:"buckets"` // 0: no lexical features
	Scale       float32  `json:"scale"`
}

// Encode returns the bytes of the head's file: magic, length of the shape, shape as JSON, and the
// numbers as little-endian float32.
func (h *Head) Encode() ([]byte, error) {
	shape := headShape{Labels: h.Labels, Dim: h.Dim, Temperature: h.Temperature}
	parts := [][]float32{h.Weights, h.Bias}
	if h.Lexical != nil {
		shape.Buckets, shape.Scale = len(h.Lexical.IDF), h.Lexical.Scale
		parts = append(parts, h.Lexical.IDF, h.LexicalWeights)
	}
	text, err := json.Marshal(shape)
	if err != nil {
		return nil, err
	}
	b := binary.LittleEndian.AppendUint32([]byte(headMagic), uint32(len(text)))
	b = append(b, text...)
	for _, part := range parts {
		for _, x := range part {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
	}
	return b, nil
}

// DecodeHead reads the file of a head. It refuses sizes that do not fit together and numbers that
// are not finite.
func DecodeHead(data []byte) (*Head, error) {
	rest, ok := bytes.CutPrefix(data, []byte(headMagic))
	if !ok || len(rest) < 4 {
		return nil, errors.New("this is not the head of a classifier, or one of a newer version")
	}
	n := binary.LittleEndian.Uint32(rest)
	rest = rest[4:]
	if uint64(n) > uint64(len(rest)) {
		return nil, io.ErrUnexpectedEOF
	}
	var shape headShape
	err := json.Unmarshal(rest[:n], &shape, json.RejectUnknownMembers(true))
	if err == nil {
		err = shape.check()
	}
	if err != nil {
		return nil, err
	}
	labels := len(shape.Labels)
	numbers := labels*(shape.Dim+1) + shape.Buckets*(labels+1)
	if rest = rest[n:]; len(rest) != 4*numbers {
		return nil, fmt.Errorf("the head has %d bytes of numbers, its shape needs %d",
			len(rest), 4*numbers)
	}
	take := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(rest[4*i:]))
			if x := float64(out[i]); math.IsNaN(x) || math.IsInf(x, 0) {
				err = errors.New("a number of the head is not finite")
			}
		}
		rest = rest[4*n:]
		return out
	}
	h := &Head{Labels: shape.Labels, Dim: shape.Dim, Temperature: shape.Temperature}
	h.Weights, h.Bias = take(labels*shape.Dim), take(labels)
	if shape.Buckets > 0 {
		h.Lexical = &Lexical{IDF: take(shape.Buckets), Scale: shape.Scale}
		h.LexicalWeights = take(shape.Buckets * labels)
	}
	return h, err
}

// check bounds the sizes, so that their products fit into memory.
func (s *headShape) check() error {
	switch {
	case len(s.Labels) < 2 || len(s.Labels) > MaxLabels:
		return fmt.Errorf("the head has %d labels; it must have 2 to %d", len(s.Labels), MaxLabels)
	case s.Dim < 1 || s.Dim > maxDim:
		return fmt.Errorf("the head reads vectors of length %d; it must be 1 to %d", s.Dim, maxDim)
	case s.Buckets < 0 || s.Buckets > maxBuckets:
		return fmt.Errorf("the head has %d buckets; the maximum is %d", s.Buckets, maxBuckets)
	case !(s.Temperature > 0) || math.IsInf(s.Temperature, 0):
		return fmt.Errorf("the temperature is %g; it must be above 0", s.Temperature)
	case !(s.Scale >= 0) || math.IsInf(float64(s.Scale), 0):
		return fmt.Errorf("the scale of the words is %g; it must be 0 or more", s.Scale)
	}
	seen := map[string]bool{}
	for _, label := range s.Labels {
		if label == "" || len(label) > MaxLabelBytes || seen[label] {
			return fmt.Errorf("label %.60q is empty, occurs twice or has more than %d bytes",
				label, MaxLabelBytes)
		}
		seen[label] = true
	}
	return nil
}
