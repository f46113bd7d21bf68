package embeddings_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"relish/embeddings"
	"relish/embeddings/onnx"
	"relish/internal/demo"
	"relish/ranker"
)

// idleEncoder is the shipped encoder, except that it gives each text the same vector without
// running the model. It is for counting.
type idleEncoder struct {
	*onnx.Encoder
	ready chan struct{} // runs wait until it is closed
}

// newIdleEncoder returns one whose runs do not wait.
func newIdleEncoder(e *onnx.Encoder) idleEncoder {
	m := idleEncoder{e, make(chan struct{})}
	close(m.ready)
	return m
}

func (m idleEncoder) Run(_ context.Context, _ [][]int32, out [][]float32) error {
	<-m.ready
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
const maxCost = 1.05

// costOf returns about what runs of the model cost, in tokens: a run costs as much as 15.
func costOf(runs, paddedTokens int) float64 { return float64(15*runs + paddedTokens) }

// checkCost compares what the service did between two moments with the bare runtime, which gets the
// items' texts sorted by length.
func checkCost(
	t *testing.T, model *onnx.Encoder, its []*ranker.ItemInfo, before, after embeddings.Stats,
) {
	t.Helper()
	if n := after.Encodes - before.Encodes; n != uint64(len(its)) {
		t.Errorf("%d of %d texts were encoded", n, len(its))
	}
	runs := int(after.Runs - before.Runs)
	tokens := int(after.PaddedTokens - before.PaddedTokens)
	batches, bareTokens := bareBatches(model, its), 0
	for _, b := range batches {
		bareTokens += int(b.in[0].Shape[0] * b.in[0].Shape[1])
	}
	t.Logf("%d texts of %d tokens: %d runs of %d tokens; the bare runtime: %d runs of %d tokens",
		len(its), after.RealTokens-before.RealTokens, runs, tokens, len(batches), bareTokens)
	if costOf(runs, tokens) > maxCost*costOf(len(batches), bareTokens) {
		t.Errorf("that costs more than %g times as much as with the bare runtime", maxCost)
	}
}

// Encoding a catalogue takes few more runs than with the bare runtime, and pads little. So do the
// texts that a request waits for.
func TestRunsAndPadding(t *testing.T) {
	encoder := loadEncoder(t)
	described, titles := demoItems()
	for name, its := range map[string][]*ranker.ItemInfo{
		"catalogue": catalogue(2000), "descriptions": described, "titles": titles,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				model := idleEncoder{encoder, make(chan struct{})}
				s := start(t, model, embeddings.Options{})
				encoded := make(chan error, 1)
				go func() { encoded <- s.EncodeAll(context.Background(), each(its), nil) }()
				// A real run takes longer than the texts take to come.
				settled(t, "all texts are queued",
					func() bool { return s.Stats().Queued == len(its) })
				close(model.ready)
				if err := <-encoded; err != nil {
					t.Fatal(err)
				}
				checkCost(t, encoder, its, embeddings.Stats{}, s.Stats())
			})
		})
	}
	s := start(t, newIdleEncoder(encoder), embeddings.Options{})
	for _, its := range [][]*ranker.ItemInfo{described[:100], titles[:100], titles[100:124]} {
		t.Run(fmt.Sprint("request of ", len(its)), func(t *testing.T) {
			before := s.Stats()
			vectors(s, its)
			checkCost(t, encoder, its, before, s.Stats())
		})
	}
}

// A text costs few allocations from the item to the vector table, and little more memory than its
// vector: 1,536 bytes, and half of that in the table's buffer.
func TestEncodeAllocations(t *testing.T) {
	s := start(t, newIdleEncoder(loadEncoder(t)), embeddings.Options{Dir: t.TempDir()})
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
