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

// session has the buffers of one run of an encoder at a time. One goroutine uses it at a time.
type session struct {
	encoder *Encoder
	pool    *sessionPool
	ids     []int64
	mask    []int64
	types   []int64 // token types, all zero
	output  []float32
	order   []int // indexes of a batch, by length
}

// resize returns a slice of n elements. It reuses the memory of buf if that is large enough.
func resize[T any](buf []T, n int) []T {
	if cap(buf) < n {
		return make([]T, n)
	}
	return buf[:n]
}

// run encodes the batch and writes the texts' unit vectors into out. The model runs once, or once
// for each length bucket that the texts have, or once for each text.
func (s *session) run(ctx context.Context, batch [][]int32, out [][]float32) error {
	s.order = s.order[:0]
	for i := range batch {
		s.order = append(s.order, i)
	}
	limit := math.MaxInt
	if s.pool.oneByOne {
		limit = 1
	}
	for indexes := range s.pool.runsOf(batch, s.order, limit) {
		length := s.pool.bucket(len(batch[indexes[len(indexes)-1]]))
		if err := s.runPadded(ctx, batch, indexes, length, out); err != nil {
			return err
		}
	}
	return nil
}

// runPadded encodes the texts of the given indexes, each padded to length, in one run of the model.
func (s *session) runPadded(
	ctx context.Context, batch [][]int32, indexes []int, length int, out [][]float32,
) error {
	s.fill(batch, indexes, length)
	rows, dim := len(indexes), s.encoder.dim
	shape := ort.NewShape(int64(rows), int64(length), int64(dim))
	if s.encoder.pooled {
		shape = ort.NewShape(int64(rows), int64(dim))
	}
	s.output = resize(s.output, int(shape.FlattenedSize()))
	if err := s.execute(ctx, ort.NewShape(int64(rows), int64(length)), shape); err != nil {
		return err
	}
	for row, i := range indexes {
		if err := s.poolStates(row, len(batch[i]), length, out[i]); err != nil {
			return fmt.Errorf("onnx: row %d: %w", i, err)
		}
	}
	return nil
}

// fill writes the texts of the given indexes into the input buffers, each padded with zeros to
// length.
func (s *session) fill(batch [][]int32, indexes []int, length int) {
	n := len(indexes) * length
	s.ids, s.mask, s.types = resize(s.ids, n), resize(s.mask, n), resize(s.types, n)
	clear(s.ids)
	clear(s.mask)
	clear(s.types)
	for row, i := range indexes {
		for k, id := range batch[i] {
			s.ids[row*length+k], s.mask[row*length+k] = int64(id), 1
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
	limited, cancel := context.WithTimeout(ctx, s.encoder.opt.RunTimeout)
	defer cancel()
	err = runUntil(limited, s.pool.native, inputs, []ort.Value{output})
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("onnx: a run of the model took longer than %s: %w",
			s.encoder.opt.RunTimeout, err)
	}
	return err
}

// runUntil runs the session and stops it at the next operator when ctx ends. The error is ctx's
// error then.
func runUntil(ctx context.Context, s nativeSession, inputs, outputs []ort.Value) error {
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

// poolStates writes the unit vector of row i into vec: the mean of its token states, or the first
// token state with cls pooling.
func (s *session) poolStates(i, tokens, length int, vec []float32) error {
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
