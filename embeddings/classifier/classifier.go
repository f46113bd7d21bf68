// Package classifier labels texts: it gives each text one of a few labels, such as a topic or a
// sentiment, with a probability. Package training/classifier trains classifiers from examples.
//
// A classifier is a linear layer, its Head, over the text's vector and over the words of the text.
// The vector comes from the service's own text encoder, so that queue and caches are shared, or
// from a fine-tuned copy of the encoder that the classifier brings. No training makes such a copy
// yet.
//
// A classifier is stored as bundles are. The folder of all classifiers holds one folder for each
// name, and in it one immutable folder for each version, with a manifest that has the SHA-256 of
// every file (Manifest). The file "active" of a name says which version serves; it is replaced
// atomically by bundle.Activate. A Registry follows these files, tries a version in a child process
// and swaps it in.
package classifier

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"relish/ranker"
	"relish/ranker/bundle"
)

// Label is the label of one text.
type Label struct {
	Label       string  // "" for a text in which the encoder finds no token
	Probability float64 // that the label is right, 0 to 1; 0 without a label
}

// Encoder returns unit vectors of texts. embeddings.Service implements it. It is safe for
// concurrent use.
type Encoder interface {
	// Texts returns the vectors of texts, nil for a text without a token. It waits for them until
	// ctx ends.
	Texts(ctx context.Context, texts []string) ([][]float32, error)
	// Lookup sets out[i] to the vector of items[i], nil if it has none at hand. It does not wait.
	Lookup(items []*ranker.ItemInfo, out [][]float32) (missing int)
	// Enqueue has the vectors of items computed in the background, and returns how many items it
	// had no room for.
	Enqueue(items []*ranker.ItemInfo) (dropped int)
	// HasText reports whether an item has a text with a token.
	HasText(item *ranker.ItemInfo) bool
}

// namePattern matches names of classifiers. They are folders, parts of a URL and names of fields.
var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// itemParts are the names of an item's own parts, for which fields cannot stand.
var itemParts = []string{"title", "text", "tags"}

// CheckName returns an error unless name can be the name of a classifier.
func CheckName(name string) error {
	switch {
	case !namePattern.MatchString(name):
		return fmt.Errorf("%.60q cannot be the name of a classifier: use 1 to 40 lower-case "+
			"letters, digits and underscores, with a letter first", name)
	case slices.Contains(itemParts, name):
		return fmt.Errorf("%q cannot be the name of a classifier: items have a %[1]s of their own",
			name)
	case strings.HasSuffix(name, probabilitySuffix):
		return fmt.Errorf("%q cannot be the name of a classifier: items have the probability of "+
			"a label in the field NAME%s", name, probabilitySuffix)
	}
	return nil
}

// Folder returns the folder of all classifiers in a data folder.
func Folder(data string) string { return filepath.Join(data, "classifiers") }

const probabilitySuffix = "_probability"

// ProbabilityField returns the name of the item field with the probability of the label that the
// field called name holds.
func ProbabilityField(name string) string { return name + probabilitySuffix }

// Model is a loaded classifier without its encoder. It is immutable and safe for concurrent use.
type Model struct {
	Version  string
	Manifest *Manifest
	Head     *Head

	probe *probe
}

// Classify returns the labels of texts, aligned with them. vectors are the unit vectors of the
// texts, nil for a text without a token.
func (m *Model) Classify(texts []string, vectors [][]float32) []Label {
	out := make([]Label, len(texts))
	probabilities := make([]float64, len(m.Head.Labels))
	for i, text := range texts {
		if vectors[i] == nil {
			continue
		}
		m.Head.Probabilities(vectors[i], text, probabilities)
		best := argMax(probabilities)
		out[i] = Label{m.Head.Labels[best], probabilities[best]}
	}
	return out
}

// argMax returns the index of the first largest value.
func argMax(xs []float64) (best int) {
	for i, x := range xs {
		if x > xs[best] {
			best = i
		}
	}
	return best
}

// errNotActive says that a name has no active version.
var errNotActive = errors.New("no version of the classifier is active: train it with relish " +
	"classifier train")

// LoadActive loads the active version of a classifier from the folder of all classifiers.
func LoadActive(root, name string) (*Model, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	version, err := activeVersion(filepath.Join(root, name))
	if err == nil && version == "" {
		err = errNotActive
	}
	if err != nil {
		return nil, fmt.Errorf("classifier %s: %w", name, err)
	}
	return Load(filepath.Join(root, name, version))
}

// activeVersion returns the active version in the folder of one classifier, "" if none is active.
func activeVersion(dir string) (string, error) {
	version, err := bundle.Active(dir)
	if err != nil || !bundle.IsVersion(version) {
		return "", err
	}
	return version, nil
}
