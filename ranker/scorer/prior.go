package scorer

import (
	"fmt"
	"math"
	"strings"

	"relish/ranker"
)

// The prior's weights, in log-odds. They were chosen by reasoning, not fitted to any log:
//
//   - A smoothed rate is a log-odds already, so it counts as it is. The user's own rates with an item's
//     field values are relative to what everybody does, so they add up with it (naive Bayes).
//   - A match is a standing within the list, in standard deviations. The text of the history separates
//     wanted from unwanted by about half a standard deviation, for which 0.3 is the log-odds per unit.
//   - A query is said by the user himself, right now: it outweighs everything else.
//   - Without impressions there is no rate, and popularity (ln of a count) stands in, at half weight
//     because counts grow with exposure as well as with liking.
//   - A new item gets a little credit, so that it is seen at all.
const (
	weightRate            = 1.0
	weightUserField       = 1.0
	weightTextMean        = 0.3
	weightTextMax         = 0.15
	weightOverlapHistory  = 0.1
	weightTextQuery       = 1.5
	weightOverlapQuery    = 0.5
	weightRetrieval       = 0.3
	weightPopularity      = 0.5
	weightAge             = -0.02
	halfTrustInteractions = 5.0  // interactions after which half of the history's say is believed
	halfTrustImpressions  = 10.0 // impressions after which half of an item's own rate is believed
	coldTextBoost         = 1.0  // an item that nobody has seen is judged by its text at twice the weight
)

// gate says what a term is multiplied with.
type gate uint8

const (
	always          gate = iota
	byUser               // how much is known of the user: h / (h + 5)
	byUserText           // the same, times 1 + how little is known of the item
	byColdItem           // how little is known of the item: 10 / (n + 10)
	byColdItemField      // the same, shared among the fields that the item has
	withoutRate          // 1 where the item has no rate
)

type term struct {
	name   string // of its column
	column int
	weight float64
	gate   gate
}

// Prior is the untrained blend. It is immutable and safe for concurrent use.
type Prior struct {
	terms                []term
	history, shown, rate int // columns that the gates read
	fields               []int
}

var _ ranker.Scorer = (*Prior)(nil)

// NewPrior returns the prior over a schema made by PriorSchema of the same tables.
func NewPrior(schema *ranker.Schema, tables []ColumnWeight) (*Prior, error) {
	at := map[string]int{}
	for i, c := range schema.Columns() {
		at[c.Name] = i
	}
	p := &Prior{}
	for name, to := range map[string]*int{userHistory: &p.history, itemShown: &p.shown, itemRate: &p.rate} {
		i, ok := at[name]
		if !ok {
			return nil, fmt.Errorf("the schema lacks %s: make it by PriorSchema", name)
		}
		*to = i
	}
	for i, c := range schema.Columns() {
		switch {
		case strings.HasPrefix(c.Name, fieldRate):
			p.fields = append(p.fields, i)
			p.terms = append(p.terms, term{c.Name, i, weightRate, byColdItemField})
		case strings.HasPrefix(c.Name, userFieldRate):
			p.terms = append(p.terms, term{c.Name, i, weightUserField, always}) // the rate is shrunk already
		default:
			if t, ok := singleTerms[c.Name]; ok {
				t.name, t.column = c.Name, i
				p.terms = append(p.terms, t)
			}
		}
	}
	for _, t := range tables {
		p.terms = append(p.terms, term{tableColumn + t.Column, at[tableColumn+t.Column], t.Weight, always})
	}
	return p, nil
}

var singleTerms = map[string]term{
	itemRate:       {weight: weightRate, gate: always},
	itemCount:      {weight: weightPopularity, gate: withoutRate},
	itemAge:        {weight: weightAge, gate: byColdItem},
	textMean:       {weight: weightTextMean, gate: byUserText},
	textMax:        {weight: weightTextMax, gate: byUserText},
	overlapHistory: {weight: weightOverlapHistory, gate: byUser},
	textQuery:      {weight: weightTextQuery, gate: always},
	overlapQuery:   {weight: weightOverlapQuery, gate: always},
	retrieval:      {weight: weightRetrieval, gate: always},
}

// gates computes one row's gates.
func (p *Prior) gates(row []float32) (g [withoutRate + 1]float64) {
	h, n := math.Expm1(logCount(row[p.history])), math.Expm1(logCount(row[p.shown]))
	user, cold := h/(h+halfTrustInteractions), halfTrustImpressions/(n+halfTrustImpressions)
	fields := 0.0
	for _, c := range p.fields {
		if row[c] == row[c] {
			fields++
		}
	}
	g[always], g[byUser], g[byUserText], g[byColdItem] = 1, user, user*(1+coldTextBoost*cold), cold
	g[byColdItemField] = cold / max(1, fields)
	if row[p.rate] != row[p.rate] {
		g[withoutRate] = 1
	}
	return g
}

func logCount(x float32) float64 {
	if x != x || x < 0 {
		return 0
	}
	return min(float64(x), 50) // beyond e^50 nothing is counted
}

// contribution is one term's contribution to a row; a missing value contributes nothing.
func (t *term) contribution(row []float32, g *[withoutRate + 1]float64) float64 {
	x := row[t.column]
	if x != x {
		return 0
	}
	return t.weight * g[t.gate] * float64(x)
}

// Score implements ranker.Blend.
func (p *Prior) Score(m *ranker.Matrix, out []float64) error {
	for i := range m.N {
		row := m.Row(i)
		g := p.gates(row)
		sum := 0.0
		for k := range p.terms {
			sum += p.terms[k].contribution(row, &g)
		}
		out[i] = sum
	}
	return nil
}

// Explain implements ranker.Blend: every term belongs to its column, the base is 0.
func (p *Prior) Explain(m *ranker.Matrix, i int, out []float64) (base float64, err error) {
	row := m.Row(i)
	g := p.gates(row)
	for k := range p.terms {
		out[p.terms[k].column] += p.terms[k].contribution(row, &g)
	}
	return 0, nil
}

// SingleModel serves one model, under its version, as the active one.
func SingleModel(m *ranker.Model) ranker.Models { return singleModel{m} }

type singleModel struct{ model *ranker.Model }

// Acquire implements ranker.Models. The model's owner keeps it open, so nothing is counted.
func (o singleModel) Acquire(name string) (*ranker.Model, error) {
	if name != "" && name != o.model.Version {
		return nil, ranker.ErrUnknownModel
	}
	return o.model, nil
}

// Fallbacks implements ranker.Models.
func (o singleModel) Fallbacks(string) []string { return nil }
