package evaluation

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"relish/features/event"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/replay"
)

// Trainer trains a model on a log and returns it as a scorer of the given name, with its schema.
//
// It leaves out the signals, features and feature groups named in without. Without TextGroup it
// reads no text at all; a signal that reads other fields beside the text uses only those.
type Trainer func(
	ctx context.Context, name string, log replay.Source, without []string,
) (Scorer, *ranker.Schema, error)

// TextGroup is the name by which Trainer leaves out everything that reads text.
const TextGroup = ranker.GroupText

// FullModel is the name of the model that was trained with everything.
const FullModel = "trained"

// AblatedModel returns the name of the model that was trained without something.
func AblatedModel(without string) string { return FullModel + " without " + without }

// Ablate trains on the log before the test set: once with everything, and once without each of the
// names. The pairs of the result compare the full model with each ablated one and show what the
// removed part is worth. An unknown name is an error that lists the known ones.
func Ablate(ctx context.Context, s *TestSet, names []string, train Trainer) (c Scorers, err error) {
	full, schema, err := train(ctx, FullModel, s.TrainingLog(), nil)
	if err != nil {
		return c, err
	}
	known := removableNames(schema)
	for i, name := range names {
		if !slices.Contains(known, name) {
			return c, fmt.Errorf("no signal, group or feature is called %q; there are %s",
				name, strings.Join(known, ", "))
		}
		if slices.Contains(names[:i], name) {
			return c, fmt.Errorf("%q is named twice; name each part once", name)
		}
	}
	c.Models = []Scorer{full}
	for _, name := range names {
		model, err := trainWithout(ctx, s, name, train)
		if err != nil {
			return c, err
		}
		c.Models = append(c.Models, model)
		c.Pairs = append(c.Pairs, Pair{FullModel, AblatedModel(name)})
	}
	return c, nil
}

// CheckRemovable returns an error if a name is certainly no signal, group or feature. The names of
// features that are inferred from the log are known only after a training; except for retrieval,
// they have a point. Features are the configured ones.
func CheckRemovable(names []string, features []ranker.Feature) error {
	known := append([]string{TextGroup, "behaviour", "item", "user", "request", "table"},
		signals.Kinds()...)
	for i := range features {
		known = append(known, ranker.GroupOf(&features[i]), features[i].Name)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for _, name := range names {
		if !slices.Contains(known, name) && !strings.Contains(name, ".") && name != "retrieval" {
			return fmt.Errorf("no signal, group or feature is called %q; there are %s, and the "+
				"features that the model card lists, such as item.rate", name,
				strings.Join(known, ", "))
		}
	}
	return nil
}

func trainWithout(ctx context.Context, s *TestSet, name string, train Trainer) (Scorer, error) {
	model, _, err := train(ctx, AblatedModel(name), s.TrainingLog(), []string{name})
	if err != nil {
		return nil, fmt.Errorf("without %s: %w", name, err)
	}
	return model, nil
}

// removableNames lists what can be left out of a training.
func removableNames(schema *ranker.Schema) []string {
	out := append([]string{TextGroup}, signals.Kinds()...)
	for _, f := range schema.Features() {
		out = append(out, ranker.GroupOf(&f), f.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// CountersOnly is the name of the cold-item model that has nothing but the items' own counters.
// These are empty for a hidden item, so the model must measure like random order, or something
// leaks.
const CountersOnly = "item counters"

// ColdItems trains the models of the cold-item experiment on the log before the test set, which
// must hide items (Options.IsHidden): one with everything, one without text, and CountersOnly.
func ColdItems(ctx context.Context, s *TestSet, train Trainer) (c Scorers, err error) {
	full, schema, err := train(ctx, FullModel, s.TrainingLog(), nil)
	if err != nil {
		return c, err
	}
	allButCounters := signals.Kinds()
	for _, f := range schema.Features() {
		if f.Kind != ranker.KindCount && f.Kind != ranker.KindRate || f.Scope != ranker.ScopeItem {
			allButCounters = append(allButCounters, f.Name)
		}
	}
	counters, _, err := train(ctx, CountersOnly, s.TrainingLog(), allButCounters)
	if err != nil {
		return c, fmt.Errorf("%s: %w", CountersOnly, err)
	}
	withoutText, err := trainWithout(ctx, s, TextGroup, train)
	if err != nil {
		return c, err
	}
	c.Models = []Scorer{counters, full, withoutText}
	c.Pairs = []Pair{{FullModel, AblatedModel(TextGroup)}}
	return c, nil
}

// SampleItems returns a function that selects this share of all items by a hash of their ids, for
// Options.IsHidden. The same seed selects the same items in every run.
func SampleItems(share float64, seed uint64) func(id string) bool {
	return func(id string) bool {
		d := xxhash.NewWithSeed(seed)
		_, _ = d.WriteString("hide ")
		_, _ = d.WriteString(id)
		return float64(d.Sum64()>>11)/(1<<53) < share
	}
}

// withoutItems returns the log as if nobody had ever seen or used the hidden items. It keeps every
// record's sequence, because lists are identified by it. An interaction with a hidden item becomes
// an event that only says that its user was there.
func withoutItems(src replay.Source, isHidden func(id string) bool) replay.Source {
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			for rec, err := range src() {
				switch e := &rec.Event; {
				case e.Kind == ranker.EventImpression:
					removeShown(e, isHidden)
				case e.Kind == ranker.EventInteraction && isHidden(e.ItemID):
					rec.Event = ranker.Event{
						Kind: ranker.EventUser,
						ID:   e.ID, UserID: e.UserID, Session: e.Session, Time: e.Time,
					}
				}
				if !yield(rec, err) {
					return
				}
			}
		}
	}
}

// removeShown removes the hidden items from an impression. It also removes what the server recorded
// about the list as a whole, which no longer holds.
func removeShown(e *ranker.Event, isHidden func(id string) bool) {
	old := e.Impression
	if !slices.ContainsFunc(old.Items, isHidden) {
		return
	}
	left := &ranker.Impression{Context: old.Context, Model: old.Model, Experiments: old.Experiments}
	for i, id := range old.Items {
		if isHidden(id) {
			continue
		}
		left.Items = append(left.Items, id)
		if old.Scores != nil {
			left.Scores = append(left.Scores, old.Scores[i])
		}
		if old.Propensity != nil {
			left.Propensity = append(left.Propensity, old.Propensity[i])
		}
	}
	e.Impression = left
}

// keepHidden reduces the lists to their hidden items. It drops lists whose remaining items all have
// a gain or all have none, because no order of these is better than another.
func keepHidden(
	lists []replay.RankingList, ids []string, isHidden func(id string) bool,
) (out []replay.RankingList) {
	for _, l := range lists {
		kept := replay.RankingList{Seq: l.Seq, User: l.User, Logged: l.Logged}
		for i, item := range l.Items {
			if isHidden(ids[item]) {
				kept.Items = append(kept.Items, item)
				kept.Gains = append(kept.Gains, l.Gains[i])
			}
		}
		if len(kept.Items) > 0 && slices.Max(kept.Gains) > 0 && slices.Min(kept.Gains) == 0 {
			out = append(out, kept)
		}
	}
	return out
}
