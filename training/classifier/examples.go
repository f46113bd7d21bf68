package classifier

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	served "relish/embeddings/classifier"
	"relish/features/importfile"
	"relish/internal/plural"
	"relish/ranker"
)

const (
	// minExamples is the least number of examples of a label.
	minExamples = 5
	// reliableExamples is the number of examples of a label from which the figures are reliable.
	// Training with fewer warns.
	reliableExamples = 8
	// maxExamples bounds the examples. With more, training takes longer than a pause.
	maxExamples = 200_000
	// maxTextBytes bounds the text of an example, as that of an item.
	maxTextBytes = 64 << 10
)

// Example is a text with its label.
type Example struct{ Text, Label string }

// ErrExamples says that the examples cannot be used. The wrapping message says what is there and
// what is needed.
var ErrExamples = errors.New("unusable examples")

// ReadExamples reads examples from a CSV file, or from JSON objects, with the columns text and
// label. opt.Columns maps these names to columns of the file. Blanks around texts and labels are
// removed. The first row that cannot be read is an error that names its line.
func ReadExamples(name string, in io.Reader, opt importfile.Options) ([]Example, error) {
	var out []Example
	columns := []string{"text", "label"}
	err := importfile.TextColumns(name, in, columns, opt,
		func(line int, v []string, bad *ranker.EventError) error {
			switch {
			case bad != nil:
				return fmt.Errorf("%w: line %d %s", ErrExamples, line, bad.Message)
			case v[0] == "" || v[1] == "":
				return fmt.Errorf("%w: line %d has no text or no label: each row needs both",
					ErrExamples, line)
			case len(v[1]) > served.MaxLabelBytes:
				return fmt.Errorf("%w: line %d has a label of %d bytes; at most %d are allowed. "+
					"Are the columns swapped?", ErrExamples, line, len(v[1]), served.MaxLabelBytes)
			case len(v[0]) > maxTextBytes:
				return fmt.Errorf("%w: line %d has a text of %d bytes; at most %d are allowed",
					ErrExamples, line, len(v[0]), maxTextBytes)
			case len(out) == maxExamples:
				return fmt.Errorf("%w: more than %d rows: use a random part of them",
					ErrExamples, maxExamples)
			}
			out = append(out, Example{v[0], v[1]})
			return nil
		})
	return out, err
}

// unique returns the examples without repetitions, in an order that depends on the texts alone, and
// the labels, sorted.
func unique(examples []Example) ([]Example, []string) {
	out := slices.Clone(examples)
	slices.SortFunc(out, func(a, b Example) int {
		return cmp.Or(cmp.Compare(xxhash.Sum64String(a.Text), xxhash.Sum64String(b.Text)),
			strings.Compare(a.Text, b.Text), strings.Compare(a.Label, b.Label))
	})
	out = slices.Compact(out)
	labels := map[string]bool{}
	for _, e := range out {
		labels[e.Label] = true
	}
	return out, slices.Sorted(maps.Keys(labels))
}

// countLabels returns the number of examples by label.
func countLabels(examples []Example) map[string]int {
	counts := map[string]int{}
	for _, e := range examples {
		counts[e.Label]++
	}
	return counts
}

// maxNamed bounds the labels that a message names.
const maxNamed = 5

// checkExamples returns an error if there are too few examples or too many labels.
func checkExamples(examples []Example, labels []string) error {
	switch {
	case len(labels) < 2:
		return fmt.Errorf("%w: %s of %s; a classifier needs examples of at least 2 labels",
			ErrExamples, plural.Count(len(examples), "different example"),
			plural.Count(len(labels), "label"))
	case len(labels) > served.MaxLabels:
		return fmt.Errorf("%w: %d labels; at most %d are allowed. Are the columns swapped?",
			ErrExamples, len(labels), served.MaxLabels)
	}
	if rare := rareLabels(examples, labels, minExamples); rare != "" {
		return fmt.Errorf("%w: %s. Each label needs %d different texts at least, and %d to be "+
			"reliable: add examples, or leave the label out", ErrExamples, rare, minExamples,
			reliableExamples)
	}
	return nil
}

// rareLabels names the labels with fewer than least examples, "" if there are none.
func rareLabels(examples []Example, labels []string, least int) string {
	counts := countLabels(examples)
	var rare []string
	for _, label := range labels {
		if counts[label] < least {
			rare = append(rare, fmt.Sprintf("%q has %d", label, counts[label]))
		}
	}
	if len(rare) > maxNamed {
		rare = append(rare[:maxNamed], fmt.Sprintf("and %d more", len(rare)-maxNamed))
	}
	return strings.Join(rare, ", ")
}
