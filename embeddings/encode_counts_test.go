package embeddings_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/internal/demo"
	"relish/ranker"
)

// idleEncoder is the shipped encoder, except that it gives each text the same vector without
// running the model. It is for counting.
type idleEncoder struct{ *onnx.Encoder }

func (m idleEncoder) Run(_ context.Context, _ [][]int32, out [][]float32) error {
	for _, vec := range out {
		vec[0] = 1
	}
	return nil
}

// demoItems returns the demo's catalogue, and the same items with their titles only.
func demoItems() (all, titles []*ranker.ItemInfo) {
	for _, it := range demo.Catalogue() {
		all = append(all, ranker.NewItemInfo(it, nil))
		titles = append(titles, item(it.Title))
	}
	return all, titles
}

// maxCost is what encoding may cost, as a multiple of what bare ONNX Runtime would.
const maxCost = 1.01

// costOf returns about what runs of the model cost, in tokens: a run costs as much as 10.
func costOf(runs, paddedTokens int) int { return 10*runs + paddedTokens }

// timedEncoder is the shipped encoder, except that it gives each text the same vector, and a run
// takes a microsecond for each token that it costs. It is for bubbles.
type timedEncoder struct {
	*onnx.Encoder
	ready chan struct{} // runs wait until it is closed
}

func (m timedEncoder) Run(_ context.Context, batch [][]int32, out [][]float32) error {
	<-m.ready
	longest := 0
	for i := range batch {
		longest = max(longest, len(batch[i]))
		out[i][0] = 1
	}
	time.Sleep(time.Duration(costOf(1, len(batch)*longest)) * time.Microsecond)
	return nil
}

// checkCost compares what the service did, and how long that took, with the bare runtime, which
// gets the items' texts sorted by length.
func checkCost(t *testing.T, model *onnx.Encoder, its []*ranker.ItemInfo, s embeddings.Stats,
	took time.Duration) {
	t.Helper()
	if s.Encodes != uint64(len(its)) {
		t.Errorf("%d of %d texts were encoded", s.Encodes, len(its))
	}
	cost := costOf(int(s.Runs), int(s.PaddedTokens))
	batches, bareTokens := bareBatches(model, its), 0
	for _, b := range batches {
		bareTokens += int(b.in[0].Shape[0] * b.in[0].Shape[1])
	}
	t.Logf("%d texts of %d tokens: %d runs of %d tokens that take the time of %d; "+
		"the bare runtime: %d runs of %d tokens", len(its), s.RealTokens, s.Runs, s.PaddedTokens,
		took.Microseconds(), len(batches), bareTokens)
	if float64(cost) > maxCost*float64(costOf(len(batches), bareTokens)) {
		t.Errorf("that costs more than %g times as much as with the bare runtime", maxCost)
	}
	if busy := float64(cost) / float64(took.Microseconds()) / 2; busy < .8 {
		t.Errorf("two sessions are busy for %.0f %% of the time, want 80", 100*busy)
	}
}

// Encoding a catalogue costs at most 1 % more than with the bare runtime, and neither do the
// texts that a request waits for. Two sessions share the work.
func TestRunsAndPadding(t *testing.T) {
	encoder := loadEncoder(t) // with two sessions
	if !encoder.MixesBuckets() {
		t.Skipf("on this %s processor, padding changes the last bits of vectors", runtime.GOARCH)
	}
	described, titles := demoItems()
	for name, its := range map[string][]*ranker.ItemInfo{
		"catalogue": catalogue(2000), "descriptions": described, "titles": titles,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				model := timedEncoder{encoder, make(chan struct{})}
				s := start(t, model, embeddings.Options{})
				encoded := make(chan error, 1)
				go func() { encoded <- s.EncodeAll(context.Background(), each(its), nil) }()
				// A real run takes longer than the texts take to come.
				settled(t, "all texts are queued",
					func() bool { return s.Stats().Queued == len(its) })
				begin := time.Now()
				close(model.ready)
				if err := <-encoded; err != nil {
					t.Fatal(err)
				}
				checkCost(t, encoder, its, s.Stats(), time.Since(begin))
			})
		})
	}
	for _, its := range [][]*ranker.ItemInfo{described[:100], titles[:100], titles[100:124]} {
		t.Run(fmt.Sprint("request of ", len(its)), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				model := timedEncoder{encoder, make(chan struct{})}
				close(model.ready)
				s := start(t, model, embeddings.Options{})
				begin := time.Now()
				vectors(s, its)
				checkCost(t, encoder, its, s.Stats(), time.Since(begin))
			})
		})
	}
}

// A text costs few allocations from the item to the vector table, and little more memory than its
// vector: 1,536 bytes, and half of that in the table's buffer.
func TestEncodeAllocations(t *testing.T) {
	s := start(t, idleEncoder{loadEncoder(t)}, embeddings.Options{Dir: t.TempDir()})
	encode := func(its []*ranker.ItemInfo) (allocations, bytes float64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := s.EncodeAll(t.Context(), each(its), nil); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		n := float64(len(its))
		return float64(after.Mallocs-before.Mallocs) / n,
			float64(after.TotalAlloc-before.TotalAlloc) / n
	}
	its := catalogue(6000)
	encode(its[:2000]) // fills pools and buffers
	allocations, bytes := encode(its[2000:])
	t.Logf("%.1f allocations of %.0f bytes a text", allocations, bytes)
	if allocations > 10 || bytes > 5000 {
		t.Error("want at most 10 allocations of 5,000 bytes a text")
	}
}
