package embeddings_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/internal/demo"
	"relish/internal/onnxtest"
	"relish/ranker"
)

var benchTexts = flag.String("texts", "",
	"file with one text a line for BenchmarkEncode; empty: titles and descriptions of the demo")

// BenchmarkEncode compares the whole way from a text to its stored vector with bare ONNX Runtime.
// Both run in turns, on the same model with the same session options. It measures processor time,
// because that of the clock depends on what else the machine does.
//
// Bare is what a program could do that has nothing but the runtime: the texts of a catalogue, or of
// a request, are tokenized and sorted by length, and each batch is padded to its longest text, all
// before the time starts. What Relish adds to that is in the ratio: tokens, queue, padding,
// pooling, rounding, and the vector table up to its fsync.
func BenchmarkEncode(b *testing.B) {
	model := loadEncoder(b)
	for name, texts := range textsToEncode(b) {
		its := make([]*ranker.ItemInfo, len(texts))
		for i, text := range texts {
			its[i] = item(text)
		}
		b.Run(name+"/embed", func(b *testing.B) {
			compareWithBare(b, model, bareBatches(model, its), func(s *embeddings.Service) {
				if err := s.EncodeAll(b.Context(), each(its), nil); err != nil {
					b.Fatal(err)
				}
			})
		})
		for _, size := range []int{24, 100} {
			b.Run(fmt.Sprintf("%s/requests of %d", name, size), func(b *testing.B) {
				var batches []bareBatch
				for part := range slices.Chunk(its, size) {
					batches = append(batches, bareBatches(model, part)...)
				}
				compareWithBare(b, model, batches, func(s *embeddings.Service) {
					for part := range slices.Chunk(its, size) {
						s.Fetch(b.Context(), part, make([][]float32, len(part)))
					}
					if err := s.Flush(); err != nil {
						b.Fatal(err)
					}
				})
			})
		}
	}
}

// textsToEncode returns the texts of the file that -texts names, each once, or those of the demo.
func textsToEncode(b *testing.B) map[string][]string {
	b.Helper()
	if *benchTexts != "" {
		data, err := os.ReadFile(*benchTexts)
		if err != nil {
			b.Fatal(err)
		}
		texts := strings.Split(strings.TrimSpace(string(data)), "\n")
		seen := map[string]bool{}
		texts = slices.DeleteFunc(texts, func(text string) bool {
			again := seen[text]
			seen[text] = true
			return again
		})
		return map[string][]string{"file": texts}
	}
	var titles, descriptions []string
	for _, it := range demo.Catalogue() {
		titles = append(titles, it.Title)
		descriptions = append(descriptions, it.Title+" "+it.Text)
	}
	return map[string][]string{"titles": titles, "descriptions": descriptions}
}

// compareWithBare encodes the batches with the bare runtime, and their texts with a new service, in
// turns.
func compareWithBare(
	b *testing.B, model *onnx.Encoder, batches []bareBatch, encode func(*embeddings.Service),
) {
	texts := 0
	for _, batch := range batches {
		texts += int(batch.in[0].Shape[0])
	}
	bare := openBare(b)
	var bareTime, took time.Duration
	var st embeddings.Stats
	for b.Loop() {
		bareTime += bare.run(b, batches)
		s := start(b, model, embeddings.Options{Dir: b.TempDir()})
		begin := processorTime(b)
		encode(s)
		took += processorTime(b) - begin
		st = s.Stats()
		if st.Encodes != uint64(texts) {
			b.Fatalf("%d of %d texts were encoded", st.Encodes, texts)
		}
		if err := s.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*bareTime.Seconds()/took.Seconds(), "%-of-bare-rate")
	b.ReportMetric(float64(b.N*texts)/took.Seconds(), "texts/cpu-s")
	b.ReportMetric(float64(st.PaddedTokens)/float64(st.RealTokens), "padded/token")
	b.ReportMetric(float64(st.Runs)/float64(len(batches)), "runs/bare-run")
}

// bareBatch is one run of the bare runtime: its inputs, and room for the states of its tokens.
type bareBatch struct{ in, out []onnx.Tensor }

// bareBatches sorts the items' texts by length and divides them into runs of at most as many
// padded tokens as a run of the encoder has.
func bareBatches(model *onnx.Encoder, its []*ranker.ItemInfo) (batches []bareBatch) {
	var texts [][]int32
	for _, it := range its {
		texts = append(texts, model.Tokenize(nil, it.Body()))
	}
	slices.SortFunc(texts, func(x, y []int32) int { return cmp.Compare(len(x), len(y)) })
	for len(texts) > 0 {
		rows := 1
		for rows < len(texts) && (rows+1)*len(texts[rows]) <= model.BatchTokens() {
			rows++
		}
		batches = append(batches, newBareBatch(texts[:rows], model.Dim()))
		texts = texts[rows:]
	}
	return batches
}

func newBareBatch(texts [][]int32, dim int) bareBatch {
	rows, length := len(texts), len(texts[len(texts)-1])
	n := rows * length
	ids, mask, types := make([]int64, n), make([]int64, n), make([]int64, n)
	for row, tokens := range texts {
		for k, id := range tokens {
			ids[row*length+k], mask[row*length+k] = int64(id), 1
		}
	}
	shape := []int64{int64(rows), int64(length)}
	return bareBatch{
		in: []onnx.Tensor{
			{Shape: shape, Data: ids}, {Shape: shape, Data: mask}, {Shape: shape, Data: types},
		},
		out: []onnx.Tensor{
			{Shape: append(shape[:2:2], int64(dim)), Data: make([]float32, n*dim)},
		},
	}
}

// bareRuntime is the shipped encoder's graph in two sessions of one thread, without the encoder.
type bareRuntime [2]*onnx.Graph

func openBare(b *testing.B) *bareRuntime {
	b.Helper()
	var bare bareRuntime
	for i := range bare {
		var err error
		bare[i], err = onnxtest.Start(b).LoadGraph(onnxtest.EncoderFiles(b, "int8").Model,
			onnx.GraphOptions{
				Inputs:  []string{"input_ids", "attention_mask", "token_type_ids"},
				Outputs: []string{"last_hidden_state"},
				Threads: 1,
			})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(bare[i].Close)
	}
	return &bare
}

// run runs all batches, as many at a time as there are sessions, and returns the processor time.
func (r *bareRuntime) run(b *testing.B, batches []bareBatch) time.Duration {
	queue := make(chan bareBatch, len(batches))
	for _, batch := range batches {
		queue <- batch
	}
	close(queue)
	begin := processorTime(b)
	var workers sync.WaitGroup
	for _, graph := range r {
		workers.Go(func() {
			for batch := range queue {
				if err := graph.Run(b.Context(), batch.in, batch.out); err != nil {
					b.Error(err)
				}
			}
		})
	}
	workers.Wait()
	return processorTime(b) - begin
}

// processorTime returns the processor time of this process so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
