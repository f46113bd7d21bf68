package onnx

import (
	"path/filepath"
	"testing"
	"time"

	ort "github.com/yalue/onnxruntime_go"
)

// BenchmarkOverhead measures what tokenizing, padding and pooling add to ONNX Runtime's own time
// for a batch of 16 titles. Both are measured in one interleaved run.
func BenchmarkOverhead(b *testing.B) {
	e := encoder(b, filepath.Join(cache, "encoder", "int8"),
		EncoderOptions{Device: "cpu", Sessions: 1})
	const rows, text = 16, "a title of about fourteen tokens, like most of the titles are here"
	batch, out, indexes := make([][]int32, rows), make([][]float32, rows), make([]int, rows)
	for i := range batch {
		indexes[i], batch[i], out[i] = i, e.Tokenize(nil, text), make([]float32, e.Dim())
	}
	s := <-e.idleSessions
	length := e.Bucket(len(batch[0]))
	s.fill(batch, indexes, length)
	s.output = resize(s.output, rows*length*e.dim)
	var inputs []ort.Value
	for _, name := range e.inputs {
		data := map[string][]int64{inputIDs: s.ids, inputMask: s.mask, inputTypes: s.types}[name]
		t, err := ort.NewTensor(ort.NewShape(rows, int64(length)), data)
		if err != nil {
			b.Fatal(err)
		}
		defer t.Destroy()
		inputs = append(inputs, t)
	}
	output, err := ort.NewTensor(ort.NewShape(rows, int64(length), int64(e.dim)), s.output)
	if err != nil {
		b.Fatal(err)
	}
	defer output.Destroy()
	e.idleSessions <- s
	var native, total time.Duration
	for b.Loop() {
		start := time.Now()
		if err := s.ort.Run(inputs, []ort.Value{output}); err != nil {
			b.Fatal(err)
		}
		native += time.Since(start)
		start = time.Now()
		for i := range batch {
			batch[i] = e.Tokenize(batch[i][:0], text)
		}
		if err := e.Run(b.Context(), batch, out); err != nil {
			b.Fatal(err)
		}
		total += time.Since(start)
	}
	b.ReportMetric(100*(float64(total)/float64(native)-1), "overhead-%")
	b.ReportMetric(float64(b.N*rows)/total.Seconds(), "texts/s")
}
