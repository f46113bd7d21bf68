package classifier

import (
	"cmp"
	"context"
	"slices"

	"github.com/viterin/vek/vek32"

	served "relish/embeddings/classifier"
)

const (
	// worthShown is how many texts the card names.
	worthShown = 20
	// alikeCosine is the similarity from which two texts count as the same question to a person.
	alikeCosine = 0.95
)

// unsureText is a text whose label a person should give or check.
type unsureText struct {
	Text        string
	Predicted   string
	Probability float64
	Second      string // the second most probable label
	Label       string // that the example has; "" for a text without a label
}

// worthLabelling returns the texts of the pool with the smallest margin between the two most
// probable labels (Scheffer et al. 2001), none like another. Without a pool, it returns such
// examples.
func (t *trainer) worthLabelling(
	ctx context.Context, h *served.Head, p *predictions,
) ([]unsureText, error) {
	if len(t.in.Pool) == 0 {
		return t.unsureExamples(h, p), nil
	}
	pool := t.in.Pool
	vectors, err := t.encode(ctx, "encode texts without a label", pool)
	if err != nil {
		return nil, err
	}
	var c candidates
	for i, text := range pool {
		if vectors[i] == nil || t.isExample(text) {
			continue
		}
		row := make([]float64, len(h.Labels))
		h.Probabilities(vectors[i], text, row)
		c.add(text, "", row, vectors[i])
	}
	return c.choose(h.Labels), nil
}

// isExample reports whether a text has a label already.
func (t *trainer) isExample(text string) bool {
	return slices.ContainsFunc(t.examples, func(e Example) bool { return e.Text == text })
}

func (t *trainer) unsureExamples(h *served.Head, p *predictions) []unsureText {
	var c candidates
	for k, i := range p.rows {
		c.add(t.examples[i].Text, t.examples[i].Label, p.probabilities(k, h.Temperature),
			t.data.uncenteredRow(i))
	}
	return c.choose(h.Labels)
}

// candidates are texts with the probabilities of their labels.
type candidates []candidate

type candidate struct {
	text, label   string
	probabilities []float64
	vector        []float32
}

func (c *candidates) add(text, label string, probabilities []float64, vector []float32) {
	*c = append(*c, candidate{text, label, probabilities, vector})
}

// choose returns the texts with the smallest margins.
func (c candidates) choose(labels []string) (out []unsureText) {
	slices.SortStableFunc(c, func(a, b candidate) int {
		return cmp.Compare(margin(a.probabilities), margin(b.probabilities))
	})
	var taken [][]float32
	for _, x := range c {
		alike := func(v []float32) bool { return vek32.Dot(v, x.vector) > alikeCosine }
		if slices.ContainsFunc(taken, alike) {
			continue
		}
		taken = append(taken, x.vector)
		order := make([]int, len(labels))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(i, j int) int {
			return cmp.Compare(x.probabilities[j], x.probabilities[i])
		})
		out = append(out, unsureText{
			Text: x.text, Label: x.label, Predicted: labels[order[0]],
			Probability: x.probabilities[order[0]], Second: labels[order[1]],
		})
		if len(out) == worthShown {
			break
		}
	}
	return out
}
