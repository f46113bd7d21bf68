package scorer

import (
	"fmt"
	"math"
	"strings"

	"relish/ranker"
)

// The prior's weights, in log-odds. They were chosen by reasoning, not fitted to any log:
//
//   - A smoothed rate is a log-odds already, so its weight is 1. The user's own rates with an
//     item's field values are relative to the global rates, so they add up with it (naive Bayes).
//   - A signal is a z-score within the list. The text of the history separates clicked from other
//     items by about half a standard deviation, for which 0.3 is the log-odds per unit.
//   - A query is what the user wants right now, so it outweighs everything else.
//   - Without impressions there is no rate. Popularity (ln of a count) then replaces it, at half
//     weight, because counts grow with exposure as well as with preference.
//   - A new item gets a little credit, so that it is seen at all.
const (
	weightRate           = 1.0
	weightUserField      = 1.0
	weightTextMean       = 0.3
	weightTextMax        = 0.15
	weightOverlapHistory = 0.1
	weightTextQuery      = 1.5
	weightOverlapQuery   = 0.5
	weightRetrieval      = 0.3
	weightPopularity     = 0.5
	weightAge            = -0.02

	halfTrustInteractions = 5.0  // of a user, at which the history's terms have half their weight
	halfTrustImpressions  = 10.0 // of an item, at which its cold-start terms have half their weight
	coldTextBoost         = 1.0  // text terms of an item without impressions count 1 + this
)

// gate is the factor by which a term is multiplied in a row.
type gate uint8

const (
	always          gate = iota
	byUser               // how much is known of the user: h / (h + halfTrustInteractions)
	byUserText           // byUser x (1 + coldTextBoost x byColdItem)
	byColdItem           // how little is known of the item: k / (n + k), k = halfTrustImpressions
	byColdItemField      // byColdItem / number of counted fields that the item has
	withoutRate          // 1 if the item has no rate, else 0
	gates                // the number of gates
)

// term is one summand of the prior: weight x gate x column.
type term struct {
	name   string // of the column
	column int
	weight float64
	gate   gate
}

// Prior is the untrained scorer. It is immutable and safe for concurrent use.
type Prior struct {
	terms                []term
	history, shown, rate int   // columns that the gates read
	fields               []int // columns of field rates
}

var _ ranker.Scorer = (*Prior)(nil)

// fixedTerms are the terms of the fixed features, by name.
var fixedTerms = map[string]term{
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

// NewPrior returns the prior over a schema that PriorSchema made from the same columns. It returns
// an error if the schema lacks a feature.
func NewPrior(schema *ranker.Schema, columns []ColumnWeight) (*Prior, error) {
	index := map[string]int{}
	for i, c := range schema.Columns() {
		index[c.Name] = i
	}
	for _, name := range []string{userHistory, itemShown, itemRate} {
		if _, ok := index[name]; !ok {
			return nil, fmt.Errorf("the schema lacks feature %s; make it with PriorSchema", name)
		}
	}
	p := &Prior{history: index[userHistory], shown: index[itemShown], rate: index[itemRate]}
	for i, c := range schema.Columns() {
		switch {
		case strings.HasPrefix(c.Name, fieldRate):
			p.fields = append(p.fields, i)
			p.terms = append(p.terms, term{c.Name, i, weightRate, byColdItemField})
		case strings.HasPrefix(c.Name, userFieldRate):
			// The rate is shrunk by its own counts already, so it needs no gate.
			p.terms = append(p.terms, term{c.Name, i, weightUserField, always})
		default:
			if t, ok := fixedTerms[c.Name]; ok {
				t.name, t.column = c.Name, i
				p.terms = append(p.terms, t)
			}
		}
	}
	for _, c := range columns {
		name := tableColumn + c.Column
		p.terms = append(p.terms, term{name, index[name], c.Weight, always})
	}
	return p, nil
}

// gates computes one row's gates.
func (p *Prior) gates(row []float32) (g [gates]float64) {
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

// logCount returns the log1p of a count, 0 if it is missing. It is at most 50, because no count
// exceeds e^50.
func logCount(x float32) float64 {
	if x != x || x < 0 {
		return 0
	}
	return min(float64(x), 50)
}

// contribution returns the term's value in a row, 0 if its column is missing.
func (t *term) contribution(row []float32, g *[gates]float64) float64 {
	x := row[t.column]
	if x != x {
		return 0
	}
	return t.weight * g[t.gate] * float64(x)
}

// InMemory implements ranker.InMemory.
func (*Prior) InMemory() bool { return true }

// Score implements ranker.Scorer.
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

// Explain implements ranker.Scorer. Every term is its column's contribution; the base is 0.
func (p *Prior) Explain(m *ranker.Matrix, i int, out []float64) (base float64, err error) {
	row := m.Row(i)
	g := p.gates(row)
	for k := range p.terms {
		out[p.terms[k].column] += p.terms[k].contribution(row, &g)
	}
	return 0, nil
}
