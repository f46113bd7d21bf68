package onnx

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/viterin/vek/vek32"
	ort "github.com/yalue/onnxruntime_go"
)

// Names of the inputs of BERT-family models.
const (
	inputIDs   = "input_ids"
	inputMask  = "attention_mask"
	inputTypes = "token_type_ids"
)

// session is one native session of an encoder with its own buffers. One goroutine uses it at a
// time.
type session struct {
	encoder *Encoder
	ort     *ort.DynamicAdvancedSession
	ids     []int64
	mask    []int64
	types   []int64 // token types, all zero
	output  []float32
}

func newSession(e *Encoder, d device, opt *EncoderOptions) (*session, error) {
	so, err := newSessionOptions(d, 1, opt)
	if err != nil {
		return nil, err
	}
	defer so.Destroy()
	s, err := openNative(e.files.Model, e.inputs, []string{e.output}, so)
	if err != nil {
		return nil, err
	}
	return &session{encoder: e, ort: s}, nil
}

func (s *session) destroy() { closeNative(s.ort) }

// resize returns a slice of n elements. It reuses the memory of buf if that is large enough.
func resize[T any](buf []T, n int) []T {
	if cap(buf) < n {
		return make([]T, n)
	}
	return buf[:n]
}

// run pads the batch, runs the model and writes the texts' unit vectors into out.
func (s *session) run(ctx context.Context, batch [][]int32, out [][]float32) error {
	length := 0
	for _, ids := range batch {
		length = max(length, len(ids))
	}
	length = s.encoder.Bucket(length)
	s.fill(batch, length)
	rows, dim := len(batch), s.encoder.dim
	shape := ort.NewShape(int64(rows), int64(length), int64(dim))
	if s.encoder.pooled {
		shape = ort.NewShape(int64(rows), int64(dim))
	}
	s.output = resize(s.output, int(shape.FlattenedSize()))
	if err := s.execute(ctx, ort.NewShape(int64(rows), int64(length)), shape); err != nil {
		return err
	}
	for i, ids := range batch {
		if err := s.pool(i, len(ids), length, out[i]); err != nil {
			return fmt.Errorf("onnx: row %d: %w", i, err)
		}
	}
	return nil
}

// fill writes the batch into the input buffers, each row padded with zeros to length.
func (s *session) fill(batch [][]int32, length int) {
	n := len(batch) * length
	s.ids, s.mask, s.types = resize(s.ids, n), resize(s.mask, n), resize(s.types, n)
	clear(s.ids)
	clear(s.mask)
	clear(s.types)
	for i, ids := range batch {
		for k, id := range ids {
			s.ids[i*length+k], s.mask[i*length+k] = int64(id), 1
		}
	}
}

// execute runs the model on the buffers. The wrapper keeps pointers to the buffers until the
// tensors are destroyed, so the buffers must not be reallocated before.
func (s *session) execute(ctx context.Context, in, out ort.Shape) (err error) {
	var inputs []ort.Value
	defer func() {
		for _, v := range inputs {
			_ = v.Destroy()
		}
	}()
	for _, name := range s.encoder.inputs {
		data := map[string][]int64{inputIDs: s.ids, inputMask: s.mask, inputTypes: s.types}[name]
		t, err := ort.NewTensor(in, data)
		if err != nil {
			return err
		}
		inputs = append(inputs, t)
	}
	output, err := ort.NewTensor(out, s.output)
	if err != nil {
		return err
	}
	defer output.Destroy()
	return runUntil(ctx, s.ort, inputs, []ort.Value{output})
}

// runUntil runs the session and stops it when ctx ends. The error is ctx's error then.
func runUntil(
	ctx context.Context,
	s *ort.DynamicAdvancedSession,
	inputs, outputs []ort.Value,
) error {
	opts, err := ort.NewRunOptions()
	if err != nil {
		return err
	}
	defer opts.Destroy()
	if err := ctx.Err(); err != nil {
		return err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = opts.Terminate()
		close(ended)
	})
	err = s.RunWithOptions(inputs, outputs, opts)
	if !stop() {
		<-ended // Terminate still uses opts, which are about to be destroyed
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

var errNotFinite = errors.New("the model gave a vector with a value that is not finite, or a " +
	"zero vector")

// pool writes the unit vector of row i into vec: the mean of its token states, or the first token
// state with cls pooling.
func (s *session) pool(i, tokens, length int, vec []float32) error {
	dim := s.encoder.dim
	switch {
	case s.encoder.pooled:
		copy(vec, s.output[i*dim:(i+1)*dim])
	case s.encoder.files.Pooling == "cls":
		copy(vec, s.output[i*length*dim:][:dim])
	default:
		states := s.output[i*length*dim:]
		copy(vec, states[:dim])
		for k := 1; k < tokens; k++ {
			vek32.Add_Inplace(vec, states[k*dim:(k+1)*dim])
		}
	}
	norm := float64(vek32.Norm(vec[:dim]))
	if math.IsNaN(norm) || math.IsInf(norm, 0) || norm < 1e-12 {
		return errNotFinite
	}
	vek32.MulNumber_Inplace(vec[:dim], float32(1/norm))
	return nil
}
