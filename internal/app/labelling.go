package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"relish/embeddings/classifier"
	"relish/ranker"
)

// Bounds of the labelling of items.
const (
	// labelBatch is how many items are labelled and logged at a time.
	labelBatch = 256
	// maxChangedItems bounds the changed items that wait. If more change, the whole catalogue is
	// gone through.
	maxChangedItems = 100_000
	// labelPause is the time between two looks at what is to be labelled, and for the encoder to
	// compute vectors.
	labelPause = time.Second
	// labelTries is how often the vector of an item is waited for. After that the item stays
	// without a label until it changes or another version is active.
	labelTries = 60
)

// labelStore is what the labelling needs of a Store.
type labelStore interface {
	Item(id string) (*ranker.Item, bool)
	Items(ctx context.Context) iter.Seq2[*ranker.ItemInfo, error]
	Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error)
}

// itemClassifiers are the active classifiers. classifier.Registry implements it.
type itemClassifiers interface {
	Versions() map[string]string // by name
	ClassifyItems(
		name string, items []*ranker.ItemInfo,
	) (labels []classifier.Label, waiting []*ranker.ItemInfo, err error)
}

// labelling gives the items of the catalogue the labels of all active classifiers, as item fields:
// NAME has the label and NAME_probability its probability. It writes them as item events, so that
// replay and training see a label from the moment at which it was known.
//
// An item is labelled when its text changes and when another version becomes active. An event is
// written only if a field changes. So an interrupted labelling goes on where it was, and a restart
// writes nothing again.
type labelling struct {
	store       labelStore
	classifiers itemClassifiers
	text        ranker.TextSpec // of the catalogue
	pause       time.Duration   // labelPause, shorter in tests
	log         *slog.Logger

	mu       sync.Mutex
	changed  map[string]*ranker.ItemInfo // by id
	overflow bool                        // more than maxChangedItems have changed
}

// enqueue takes new and changed items. It does not block.
func (l *labelling) enqueue(items []*ranker.ItemInfo) {
	if len(l.classifiers.Versions()) == 0 {
		return // the first version goes through the whole catalogue
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		if len(l.changed) >= maxChangedItems {
			l.overflow = true
			return
		}
		if l.changed == nil {
			l.changed = map[string]*ranker.ItemInfo{}
		}
		l.changed[it.ID] = it
	}
}

// takeChanged returns the changed items, sorted by id, and whether there were more of them.
func (l *labelling) takeChanged() (items []*ranker.ItemInfo, overflow bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(l.changed)) {
		items = append(items, l.changed[id])
	}
	overflow = l.overflow
	l.changed, l.overflow = nil, false
	return items, overflow
}

// run labels items until ctx ends, and passes the outcome of each round to report.
func (l *labelling) run(ctx context.Context, report func(error)) {
	done := map[string]string{} // by name: the version that has gone through the catalogue
	for {
		if err := l.round(ctx, done); ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.pause):
		}
	}
}

// round labels the whole catalogue by the versions that have become active, and the changed items
// by the others. done has what was completed before. The failure of one classifier does not keep
// the others from their work; its next round labels everything.
func (l *labelling) round(ctx context.Context, done map[string]string) error {
	changed, overflow := l.takeChanged()
	if overflow {
		clear(done)
	}
	var errs []error
	versions := l.classifiers.Versions()
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		err := l.checkText(name)
		switch {
		case err != nil:
		case done[name] == versions[name]:
			err = l.label(ctx, name, each(changed))
		default:
			err = l.labelCatalogue(ctx, name, versions[name])
		}
		if done[name] = versions[name]; err != nil {
			delete(done, name)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// labelCatalogue labels all items by a version that has become active.
func (l *labelling) labelCatalogue(ctx context.Context, name, version string) error {
	start := time.Now()
	if err := l.label(ctx, name, l.store.Items(ctx)); err != nil {
		return err
	}
	l.log.Info("the items have labels", "classifier", name, "version", version,
		"took", time.Since(start).Round(time.Millisecond))
	return nil
}

// checkText refuses labels that would be part of the text from which they follow.
func (l *labelling) checkText(name string) error {
	for _, field := range []string{name, classifier.ProbabilityField(name)} {
		if slices.Contains(l.text, field) {
			return fmt.Errorf("the items get no labels of the classifier %s, because text in "+
				"relish.yaml has the field %s: leave it out there", name, field)
		}
	}
	return nil
}

// each yields items as the catalogue does.
func each(items []*ranker.ItemInfo) iter.Seq2[*ranker.ItemInfo, error] {
	return func(yield func(*ranker.ItemInfo, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// label labels items in batches.
func (l *labelling) label(
	ctx context.Context, name string, items iter.Seq2[*ranker.ItemInfo, error],
) error {
	batch := make([]*ranker.ItemInfo, 0, labelBatch)
	for it, err := range items {
		if err != nil {
			return err
		}
		if it.TextKey == 0 {
			continue
		}
		if batch = append(batch, it); len(batch) == labelBatch {
			if err := l.labelBatch(ctx, name, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return l.labelBatch(ctx, name, batch)
}

// labelBatch labels items. It waits for the vectors of those that have none yet.
func (l *labelling) labelBatch(
	ctx context.Context, name string, items []*ranker.ItemInfo,
) error {
	for try := 0; len(items) > 0; try++ {
		labels, waiting, err := l.classifiers.ClassifyItems(name, items)
		if err != nil {
			return err
		}
		var events []ranker.Event
		for i, it := range items {
			// isCurrent comes last, because it may ask Redis.
			if labels[i].Label != "" && !hasLabel(it, name, labels[i]) && l.isCurrent(it) {
				events = append(events, labelEvent(it.ID, name, labels[i]))
			}
		}
		if err := l.append(ctx, events); err != nil {
			return err
		}
		if items = waiting; len(items) == 0 || try == labelTries {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.pause):
		}
	}
	return nil
}

// isCurrent reports whether the catalogue still has the item with this text. Otherwise the item was
// deleted, and a label would bring it back, or a changed form of it waits.
func (l *labelling) isCurrent(it *ranker.ItemInfo) bool {
	now, ok := l.store.Item(it.ID)
	return ok && ranker.TextKey(l.text.Compose(now)) == it.TextKey
}

// hasLabel reports whether the fields of an item say this label already.
func hasLabel(it *ranker.ItemInfo, name string, label classifier.Label) bool {
	known, _ := it.Field(name)
	probability, _ := it.Field(classifier.ProbabilityField(name))
	return known.Kind == ranker.String && known.Str == label.Label &&
		probability.Kind == ranker.Number && probability.Num == rounded(label.Probability)
}

// rounded returns a probability with three decimals. Processors may round the others differently.
func rounded(p float64) float64 { return math.Round(1000*p) / 1000 }

// labelEvent is the item event that sets the fields of a label. Its id is new each time: the same
// label may be set again after somebody has replaced the item.
func labelEvent(id, name string, label classifier.Label) ranker.Event {
	return ranker.Event{
		Kind: ranker.EventItem, ID: "label-" + uuid.NewString(), ItemID: id,
		Fields: map[string]ranker.FieldValue{
			name:                              ranker.StringValue(label.Label),
			classifier.ProbabilityField(name): ranker.NumberValue(rounded(label.Probability)),
		},
	}
}

// append makes events durable. A rejected one is logged: the other items get their labels.
func (l *labelling) append(ctx context.Context, events []ranker.Event) error {
	if len(events) == 0 {
		return nil
	}
	outcomes, err := l.store.Append(ctx, events)
	if err != nil {
		return fmt.Errorf("logging the labels of items: %w", err)
	}
	for _, o := range outcomes {
		if o.Err != nil {
			l.log.Warn("an item gets no label", "code", o.Err.Code, "reason", o.Err.Message)
			break
		}
	}
	return nil
}
