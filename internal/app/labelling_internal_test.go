package app

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relish/embeddings/classifier"
	"relish/features"
	"relish/features/embedded"
	"relish/ranker"
)

// fakeClassifiers label an item by the first word of its title. A title with "late" has its vector
// after some calls.
type fakeClassifiers struct {
	versions map[string]string
	prefix   string // of every label
	late     int
	calls    int // items
}

func (f *fakeClassifiers) Versions() map[string]string { return f.versions }

func (f *fakeClassifiers) ClassifyItems(
	_ string, items []*ranker.ItemInfo,
) (labels []classifier.Label, waiting []*ranker.ItemInfo, err error) {
	labels = make([]classifier.Label, len(items))
	for i, it := range items {
		f.calls++
		if strings.Contains(it.Title(), "late") && f.late > 0 {
			f.late--
			waiting = append(waiting, it)
			continue
		}
		word, _, _ := strings.Cut(it.Title(), " ")
		labels[i] = classifier.Label{Label: f.prefix + word, Probability: 0.71239}
	}
	return labels, waiting, nil
}

// labelWorld is a store whose items a labelling labels.
type labelWorld struct {
	store *embedded.Store
	fake  *fakeClassifiers
	l     *labelling
	done  map[string]string
}

func newLabelWorld(t *testing.T, text ranker.TextSpec) *labelWorld {
	t.Helper()
	w := &labelWorld{
		fake: &fakeClassifiers{versions: map[string]string{"topic": "v1"}},
		done: map[string]string{},
	}
	store, err := embedded.Open(t.TempDir(), features.DefaultConfig(), embedded.Options{
		OnItemsChanged: func(items []*ranker.ItemInfo) { w.l.enqueue(items) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.store = store
	w.l = &labelling{
		store: store, classifiers: w.fake, text: text, pause: time.Millisecond,
		log: slog.New(slog.DiscardHandler),
	}
	return w
}

func (w *labelWorld) put(t *testing.T, id, title string) {
	t.Helper()
	e := ranker.Event{
		Kind: ranker.EventItem, ID: id + title, ItemID: id, Title: &title, Replace: true,
	}
	if _, err := w.store.Append(t.Context(), []ranker.Event{e}); err != nil {
		t.Fatal(err)
	}
}

func (w *labelWorld) round(t *testing.T) {
	t.Helper()
	if err := w.l.round(t.Context(), w.done); err != nil {
		t.Fatal(err)
	}
}

func (w *labelWorld) label(id string) (label string, probability float64) {
	it, ok := w.store.Item(id)
	if !ok {
		return "", 0
	}
	return it.Fields["topic"].Str, it.Fields["topic_probability"].Num
}

func (w *labelWorld) want(t *testing.T, id, label string) {
	t.Helper()
	if got, p := w.label(id); got != label || label != "" && p != 0.712 {
		t.Errorf("item %s has the label %q with probability %g, want %q", id, got, p, label)
	}
}

// The whole catalogue is labelled when a version becomes active, and each item when its text
// changes. Nothing is written twice, also not after a restart.
func TestItemsGetLabels(t *testing.T) {
	w := newLabelWorld(t, nil)
	w.put(t, "a", "bread at sea")
	w.put(t, "b", "tax law")
	w.round(t)
	w.want(t, "a", "bread")
	w.want(t, "b", "tax")
	seq := func() uint64 { return w.store.Stats().Seq }
	before := seq()
	w.round(t) // the labels themselves have changed the items
	w.done = map[string]string{}
	w.round(t)
	if seq() != before {
		t.Errorf("%d events are written again", seq()-before)
	}
	calls := w.fake.calls
	w.put(t, "a", "money")
	w.round(t)
	w.want(t, "a", "money")
	if w.fake.calls != calls+1 {
		t.Errorf("%d items are looked at for one that has changed", w.fake.calls-calls)
	}
	w.fake.versions["topic"], w.fake.prefix = "v2", "new-"
	w.round(t)
	w.want(t, "a", "new-money")
	w.want(t, "b", "new-tax")
}

// countedReads counts the items that are read one by one.
type countedReads struct {
	labelStore
	n int
}

func (c *countedReads) Item(id string) (*ranker.Item, bool) {
	c.n++
	return c.labelStore.Item(id)
}

// A restart asks the store for no item that has its label: with Redis, each would take a round
// trip.
func TestLabelledItemsAreNotReadAgain(t *testing.T) {
	w := newLabelWorld(t, nil)
	reads := &countedReads{labelStore: w.store}
	w.l.store = reads
	w.put(t, "a", "bread")
	w.put(t, "b", "tax")
	w.round(t)
	w.want(t, "a", "bread")
	before := reads.n
	clear(w.done)
	w.round(t)
	if reads.n != before {
		t.Errorf("%d items are read again", reads.n-before)
	}
}

// An item that is replaced loses its fields and gets the same label again.
func TestReplacedItemIsLabelledAgain(t *testing.T) {
	w := newLabelWorld(t, nil)
	w.put(t, "a", "bread")
	w.round(t)
	title := "bread"
	e := ranker.Event{
		Kind: ranker.EventItem, ID: "again", ItemID: "a", Title: &title, Replace: true,
	}
	if _, err := w.store.Append(t.Context(), []ranker.Event{e}); err != nil {
		t.Fatal(err)
	}
	w.want(t, "a", "")
	w.round(t)
	w.want(t, "a", "bread")
}

// An item that is deleted while its vector is computed does not come back.
func TestDeletedItemStaysDeleted(t *testing.T) {
	w := newLabelWorld(t, nil)
	w.put(t, "a", "bread")
	info := ranker.NewItemInfo(ranker.Item{ID: "gone", Title: "gone"}, nil)
	w.l.enqueue([]*ranker.ItemInfo{info})
	w.round(t)
	w.done["topic"] = "v1"
	w.l.enqueue([]*ranker.ItemInfo{info})
	w.round(t)
	if it, ok := w.store.Item("gone"); ok {
		t.Errorf("the deleted item is back: %+v", it)
	}
}

// Items wait for their vectors; the others do not wait for them.
func TestLabellingWaitsForVectors(t *testing.T) {
	w := newLabelWorld(t, nil)
	w.fake.late = 3
	w.put(t, "a", "bread late")
	w.put(t, "b", "tax")
	w.round(t)
	w.want(t, "a", "bread")
	w.want(t, "b", "tax")
}

// More changes than fit are no loss: the whole catalogue is gone through.
func TestManyChanges(t *testing.T) {
	w := newLabelWorld(t, nil)
	w.put(t, "a", "bread")
	w.done["topic"] = "v1"
	_, _ = w.l.takeChanged()
	w.l.overflow = true
	w.round(t)
	w.want(t, "a", "bread")
}

func TestLabelsAreNoPartOfTheText(t *testing.T) {
	w := newLabelWorld(t, ranker.TextSpec{"title", "topic"})
	w.put(t, "a", "bread")
	err := w.l.round(t.Context(), w.done)
	if err == nil || !strings.Contains(err.Error(), "has the field topic") {
		t.Error(err)
	}
	w.want(t, "a", "")
}

// A classifier that cannot be used keeps no other one from its work, neither those before it in the
// alphabet, which would go through the whole catalogue again and again, nor those after it.
func TestClassifiersFailAlone(t *testing.T) {
	w := newLabelWorld(t, ranker.TextSpec{"title", "mood"})
	w.fake.versions = map[string]string{"kind": "v1", "mood": "v1", "topic": "v1"}
	w.put(t, "a", "bread")
	round := func() {
		if err := w.l.round(t.Context(), w.done); err == nil {
			t.Error("no error says that mood is part of the text")
		}
	}
	round()
	w.want(t, "a", "bread")
	round() // the labels themselves have changed the item
	calls := w.fake.calls
	round()
	if w.fake.calls != calls {
		t.Errorf("%d items are looked at without a change", w.fake.calls-calls)
	}
}

// Without an active classifier, nothing is kept and nothing is written.
func TestNoClassifier(t *testing.T) {
	w := newLabelWorld(t, nil)
	clear(w.fake.versions)
	w.put(t, "a", "bread")
	if items, _ := w.l.takeChanged(); len(items) > 0 {
		t.Errorf("%d items are kept", len(items))
	}
	w.round(t)
	w.want(t, "a", "")
}

// run ends with its context.
func TestLabellingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &labelling{
			classifiers: &fakeClassifiers{}, pause: labelPause, log: slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancel(t.Context())
		rounds := 0
		go func() {
			time.Sleep(3 * labelPause / 2)
			cancel()
		}()
		l.run(ctx, func(error) { rounds++ })
		if rounds != 2 {
			t.Errorf("%d rounds", rounds)
		}
	})
}
