package evaluate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"relish/ranker"
	"relish/ranker/match"
	"relish/training/replay"
)

// Trainer trains a model on a log, without the matchers, features and groups of features of the given names, and returns it
// as a scorer of a name, with its schema. Without Text it reads no text at all: matchers that read fields beside it go by
// those.
type Trainer func(ctx context.Context, name string, on replay.Source, without []string) (Scorer, *ranker.Schema, error)

// Text is what Trainer takes for everything that reads text.
const Text = ranker.GroupText

// Trained names the model that was trained with everything, in the experiments' tables.
const Trained = "trained"

// Without names the model that was trained without something.
func Without(name string) string { return Trained + " without " + name }

// Ablate trains on what came before the part: with everything, and once without each of the names. The contest's pairs say
// what each is worth. A name that names nothing is an error, which lists what there is.
func Ablate(ctx context.Context, p *Part, names []string, train Trainer) (c Contest, err error) {
	full, schema, err := train(ctx, Trained, p.Before(), nil)
	if err != nil {
		return c, err
	}
	there := removable(schema)
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
		s, _, err := train(ctx, Without(name), p.Before(), []string{name})
		if err != nil {
			return c, fmt.Errorf("without %s: %w", name, err)
		}
		c.Models = append(c.Models, s)
		c.Pairs = append(c.Pairs, Pair{Trained, Without(name)})
	}
	return c, nil
}

// removable lists what can be left out of a training.
func removable(schema *ranker.Schema) []string {
	out := append([]string{Text}, match.Kinds()...)
	for _, f := range schema.Features() {
		out = append(out, ranker.GroupOf(&f), f.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Counters names the model of the cold-item experiment that has nothing but the items' own counters. They are empty for
// items that nobody has met, so it must be level with chance, or something leaks.
const Counters = "item counters"

// Cold trains the models of the cold-item experiment on what came before the part, whose options hide items: one with
// everything, one without text, and one of the items' own counters.
func Cold(ctx context.Context, p *Part, train Trainer) (c Contest, err error) {
	full, schema, err := train(ctx, Trained, p.Before(), nil)
	if err != nil {
		return c, err
	}
	rest := match.Kinds()
	for _, f := range schema.Features() {
		if f.Kind != ranker.KindCount && f.Kind != ranker.KindRate || f.Scope != ranker.ScopeItem {
			rest = append(rest, f.Name)
		}
	}
	counters, _, err := train(ctx, Counters, p.Before(), rest)
	if err != nil {
		return c, fmt.Errorf("%s: %w", Counters, err)
	}
	blind, _, err := train(ctx, Without(Text), p.Before(), []string{Text})
	if err != nil {
		return c, fmt.Errorf("without %s: %w", Text, err)
	}
	c.Models = []Scorer{counters, full, blind}
	c.Pairs = []Pair{{Trained, Without(Text)}}
	return c, nil
}
