package classifier

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"

	"relish/internal/chart"
)

//go:embed card.html
var cardHTML string

var cardPage = template.Must(template.New("card").Funcs(template.FuncMap{
	"percent": func(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) },
	"fixed":   func(x float64) string { return fmt.Sprintf("%.3f", x) },
}).Parse(cardHTML))

// maxMatrix is the number of labels up to which the card shows the whole confusion matrix. Beyond
// that it shows the most frequent confusions only.
const maxMatrix = 20

// maxConfusions bounds the confusions on the card.
const maxConfusions = 20

// card is what the page shows. It needs no script and loads nothing.
type card struct {
	*Result
	CSS         template.CSS
	Labels      []string
	PerLabel    []LabelMetrics // worst first
	Confusions  []Confusion
	Matrix      [][]int // by true and predicted label; nil for too many labels
	Calibration float64
	Worth       []unsureText
	FromPool    bool
	Examples    int
}

func (t *trainer) card(r *Result, p *predictions, worth []unsureText) *card {
	m := p.matrix()
	c := &card{
		Result: r, CSS: template.CSS(chart.CSS), Labels: t.labels, Worth: worth,
		Confusions:  m.confusions(t.labels, maxConfusions),
		Calibration: r.Manifest.Metrics["calibration_error"],
		FromPool:    len(t.in.Pool) > 0,
	}
	for n := range maps.Values(r.Manifest.Examples) {
		c.Examples += n
	}
	for l, label := range t.labels {
		x, _ := m.ofLabel(l)
		x.Label = label
		c.PerLabel = append(c.PerLabel, x)
	}
	slices.SortStableFunc(c.PerLabel, func(a, b LabelMetrics) int {
		return cmp.Compare(a.F1, b.F1)
	})
	if len(t.labels) <= maxMatrix {
		for row := range slices.Chunk(m.counts, m.labels) {
			c.Matrix = append(c.Matrix, row)
		}
	}
	return c
}

// writeCard writes the page. It fails only if w fails.
func writeCard(w io.Writer, c *card) error {
	if err := cardPage.Execute(w, c); err != nil {
		return fmt.Errorf("card of the classifier: %w", err)
	}
	return nil
}
