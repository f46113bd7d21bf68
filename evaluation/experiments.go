package evaluation

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"relish/ranker"
	"relish/ranker/signals"
	"relish/training/replay"
)

// Trainer trains a model on a log, without the matchers, features and groups of features of the given names, and returns it
// as a scorer of a name, with its schema. Without Text it reads no text at all: matchers that read fields beside it go by
// those.
type Trainer func(ctx context.Context, name string, on replay.Source, without []string) (Scorer, *ranker.Schema, error)

// TextGroup is what Trainer takes for everything that reads text.
const TextGroup = ranker.GroupText

// FullModel names the model that was trained with everything, in the experiments' tables.
const FullModel = "trained"

// AblatedModel names the model that was trained without something.
func AblatedModel(name string) string { return FullModel + " without " + name }

// Ablate trains on what came before the part: with everything, and once without each of the names. The contest's pairs say
// what each is worth. A name that names nothing is an error, which lists what there is.
func Ablate(ctx context.Context, p *TestSet, names []string, train Trainer) (c Scorers, err error) {
	full, schema, err := train(ctx, FullModel, p.TrainingLog(), nil)
	if err != nil {
		return c, err
	}
	there := removableNames(schema)
	for i, name := range names {
		if !slices.Contains(there, name) {
			return c, fmt.Errorf("nothing is called %q; there are the matchers, groups and features %s", name, strings.Join(there, ", "))
		}
		if slices.Contains(names[:i], name) {
			return c, fmt.Errorf("%q is named twice", name)
		}
	}
	c.Models = []Scorer{full}
	for _, name := range names {
		s, _, err := train(ctx, AblatedModel(name), p.TrainingLog(), []string{name})
		if err != nil {
			return c, fmt.Errorf("without %s: %w", name, err)
		}
		c.Models = append(c.Models, s)
		c.Pairs = append(c.Pairs, Pair{FullModel, AblatedModel(name)})
	}
	return c, nil
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

// CountersOnly names the model of the cold-item experiment that has nothing but the items' own counters. They are empty for
// items that nobody has met, so it must be level with chance, or something leaks.
const CountersOnly = "item counters"

// ColdItems trains the models of the cold-item experiment on what came before the part, whose options hide items: one with
// everything, one without text, and one of the items' own counters.
func ColdItems(ctx context.Context, p *TestSet, train Trainer) (c Scorers, err error) {
	full, schema, err := train(ctx, FullModel, p.TrainingLog(), nil)
	if err != nil {
		return c, err
	}
	rest := signals.Kinds()
	for _, f := range schema.Features() {
		if f.Kind != ranker.KindCount && f.Kind != ranker.KindRate || f.Scope != ranker.ScopeItem {
			rest = append(rest, f.Name)
		}
	}
	counters, _, err := train(ctx, CountersOnly, p.TrainingLog(), rest)
	if err != nil {
		return c, fmt.Errorf("%s: %w", CountersOnly, err)
	}
	blind, _, err := train(ctx, AblatedModel(TextGroup), p.TrainingLog(), []string{TextGroup})
	if err != nil {
		return c, fmt.Errorf("without %s: %w", TextGroup, err)
	}
	c.Models = []Scorer{counters, full, blind}
	c.Pairs = []Pair{{FullModel, AblatedModel(TextGroup)}}
	return c, nil
}
