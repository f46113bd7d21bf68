package onnx

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
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
	s := <-e.sessions.Load().idle
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
	e.sessions.Load().put(s)
	var native, total time.Duration
	for b.Loop() {
		start := time.Now()
		if err := runUntil(b.Context(), s.pool.native, inputs, []ort.Value{output}); err != nil {
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

// BenchmarkQuantizeRows compares the shipped encoder with the file that it comes from, which takes
// one scale for the activations of a whole batch. Both run in turns on one thread, with texts of 5
// tokens (titles) and of 67 (overviews). It measures processor time, because that of the clock
// depends on what else the machine does.
func BenchmarkQuantizeRows(b *testing.B) {
	dir := filepath.Join(cache, "encoder", "int8")
	file, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
	if err != nil {
		b.Fatal(err)
	}
	files, err := ReadEncoderFiles(dir, 0)
	if err != nil {
		b.Fatal(err)
	}
	var graphs [2]*Graph
	for i, model := range [][]byte{file, files.Model} {
		graphs[i], err = start(b).LoadGraph(model, GraphOptions{
			Inputs:  []string{inputIDs, inputMask, inputTypes},
			Outputs: []string{"last_hidden_state"}, Threads: 1,
		})
		if err != nil {
			b.Fatal(err)
		}
		defer graphs[i].Close()
	}
	for _, text := range []struct {
		name           string
		tokens, padded int
	}{{"titles", 5, 8}, {"overviews", 67, 96}} {
		for _, rows := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("%s/%d", text.name, rows), func(b *testing.B) {
				compareGraphs(b, graphs, rows, text.tokens, text.padded)
			})
		}
	}
}

// compareGraphs runs both graphs on the same texts in turns.
func compareGraphs(b *testing.B, graphs [2]*Graph, rows, tokens, padded int) {
	n := rows * padded
	ids, mask, types := make([]int64, n), make([]int64, n), make([]int64, n)
	for i := range ids {
		if i%padded < tokens {
			ids[i], mask[i] = int64(1000+i*37%20_000), 1
		}
	}
	shape := []int64{int64(rows), int64(padded)}
	in := []Tensor{{shape, ids}, {shape, mask}, {shape, types}}
	out := []Tensor{{[]int64{int64(rows), int64(padded), 384}, make([]float32, n*384)}}
	var took [2]time.Duration
	for b.Loop() {
		for i, g := range graphs {
			begin := processorTime(b)
			if err := g.Run(b.Context(), in, out); err != nil {
				b.Fatal(err)
			}
			took[i] += processorTime(b) - begin
		}
	}
	b.ReportMetric(float64(b.N*rows)/took[0].Seconds(), "file-texts/cpu-s")
	b.ReportMetric(float64(b.N*rows)/took[1].Seconds(), "texts/cpu-s")
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "of-file's-rate")
}

// processorTime returns the processor time of this process so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
