package signals_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"relish/ranker"
	served "relish/ranker/signals"
	"relish/training/signals"
)

// catalogue returns a corpus of items with two tags each, one of them with ten, and with vectors
// around a common direction.
func catalogue() *signals.Corpus {
	c := &signals.Corpus{}
	var ids []string
	for i := range 200 {
		tags := []string{fmt.Sprint("tag", i%20), fmt.Sprint("tag", i%7)}
		if i == 0 {
			for k := range 10 {
				tags = append(tags, fmt.Sprint("tag", k))
			}
		}
		ids = append(ids, fmt.Sprint("item", i))
		item := ranker.Item{ID: ids[i], Title: fmt.Sprint("the word", i%9), Tags: tags}
		c.ItemInfos = append(c.ItemInfos, ranker.NewItemInfo(item, nil))
		angle := float64(i)
		c.Vectors = append(c.Vectors, []float32{
			float32(0.6), float32(0.8 * math.Cos(angle)), float32(0.8 * math.Sin(angle)),
		})
	}
	c.Items = ranker.NewItemTable(ids)
	c.Users = make([]signals.UserHistory, 1)
	return c
}

// An item that lists every tag has entries whose sum is that of an item at the limit, and one that
// repeats a tag has it once.
func TestManyFieldValuesCountLittle(t *testing.T) {
	features, err := signals.TrainContentFeatures(catalogue(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := []float32{2}; !slices.Equal(features.FieldLimits, want) {
		t.Fatalf("limits %v, want %v", features.FieldLimits, want)
	}
	sum := func(tags ...string) (sum float64) {
		reader := features.NewReader()
		reader.Read(ranker.NewItemInfo(ranker.Item{ID: "x", Tags: tags}, nil), nil)
		for _, x := range reader.Entries {
			sum += float64(x)
		}
		return sum
	}
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprint("tag", i))
	}
	if got := sum(all...); got > math.Sqrt2+1e-3 {
		t.Errorf("the entries of all tags add up to %g, want at most %g", got, math.Sqrt2)
	}
	if got := sum(slices.Repeat([]string{"tag3"}, 100)...); math.Abs(got-1) > 1e-6 {
		t.Errorf("the entries of a repeated tag add up to %g, want 1", got)
	}
}

// The average item is as similar to a history as no item at all.
func TestMeansOfTheCatalogue(t *testing.T) {
	c := catalogue()
	text, ok := signals.TrainTextSimilarity(c)
	texts := &ranker.SignalInput{
		State:         &ranker.RequestState{Recent: []ranker.Interaction{{Item: "a"}}},
		RecentVectors: [][]float32{{0.6, 0.8, 0}},
		ItemVectors:   [][]float32{{0.6, 0, 0.8}, {1, 0, 0}},
	}
	cosines := make([]float32, 8)
	if err := text.Compute(t.Context(), texts, cosines); err != nil || !ok {
		t.Fatal(ok, err)
	}
	for _, i := range []int{0, 4} { // the common direction is subtracted
		if math.Abs(float64(cosines[i])) > 0.05 {
			t.Errorf("text.mean is %g, want about 0", cosines[i])
		}
	}
	c.Vectors = make([][]float32, len(c.Vectors))
	if _, ok := signals.TrainTextSimilarity(c); ok {
		t.Error("there is a mean of no texts")
	}
	lexical := signals.TrainLexical(c)
	title := func(text string) *ranker.ItemInfo {
		return ranker.NewItemInfo(ranker.Item{ID: text, Title: text}, nil)
	}
	in := &ranker.SignalInput{State: &ranker.RequestState{
		Items:       []*ranker.ItemInfo{title("the word0"), title("the"), title("the word1")},
		RecentItems: []*ranker.ItemInfo{title("the word0")},
	}}
	columns := len(lexical.Columns())
	out := make([]float32, columns*len(in.State.Items))
	if err := lexical.Compute(t.Context(), in, out); err != nil {
		t.Fatal(err)
	}
	if same, frequent := out[0], out[columns]; same < 0.99 || frequent > 0.05 {
		t.Errorf("similarity %g of the same title, %g of a word that every title has",
			same, frequent)
	}
	again, err := new(served.Loader).Load(served.KindLexical, lexical.Encode())
	if err != nil || len(again.Columns()) != columns {
		t.Errorf("loaded %v, error %v", again, err)
	}
}
