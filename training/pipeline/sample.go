package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"relish/ranker"
	"relish/training/modelcard"
)

const (
	// explainedRows is about how many candidates a sample explains.
	explainedRows = 400
	// rowsPerList bounds the explained candidates of one list: the first in the order shown.
	rowsPerList = 4
	// maxSamplePoints bounds the points of one feature on the model card.
	maxSamplePoints = 150
)

// sample collects statistics of a model's feature matrices for the model card.
type sample struct {
	interval      int // every interval-th list is explained
	lists, rows   int
	missing       []int     // by feature: rows without a value
	contributions []float64 // by column: sum of |contribution| over the explained rows
	explained     []explainedRow
}

// explainedRow is one candidate: its feature values and their contributions, by column.
type explainedRow struct {
	values        []float32
	contributions []float64
}

func newSample(schema *ranker.Schema, lists int) *sample {
	return &sample{
		interval: max(
			1,
			lists*rowsPerList/explainedRows,
		), missing: make([]int, len(schema.Features())),
		contributions: make([]float64, len(schema.Columns())),
	}
}

// add adds the matrix of one list.
func (s *sample) add(model *ranker.Model, m *ranker.Matrix) error {
	for i := range m.N {
		row := m.Row(i)
		for f := range s.missing {
			if math.IsNaN(float64(row[model.Schema.FirstColumn(f)])) {
				s.missing[f]++
			}
		}
	}
	s.rows += m.N
	if s.lists++; (s.lists-1)%s.interval != 0 {
		return nil
	}
	for i := range min(m.N, rowsPerList) {
		row := explainedRow{
			values: slices.Clone(m.Row(i)), contributions: make([]float64, len(s.contributions)),
		}
		if _, err := model.Scorer.Explain(m, i, row.contributions); err != nil {
			return err
		}
		for c, x := range row.contributions {
			s.contributions[c] += math.Abs(x)
		}
		s.explained = append(s.explained, row)
	}
	return nil
}

// points returns the contributions of one column.
func (s *sample) points(column int, name string) modelcard.ContributionSample {
	out := modelcard.ContributionSample{Feature: name}
	for _, row := range s.explained[:min(len(s.explained), maxSamplePoints)] {
		point := modelcard.ContributionPoint{Contribution: row.contributions[column]}
		if v := float64(row.values[column]); !math.IsNaN(v) && !math.IsInf(v, 0) {
			point.Value = &v
		}
		out.Points = append(out.Points, point)
	}
	return out
}

// timedRounds is how often signalCosts computes each list. The median is robust against other work
// on the machine.
const timedRounds = 9

// signalCosts measures how long each of the model's signals takes for one list, in microseconds.
func signalCosts(
	ctx context.Context,
	m *ranker.Model,
	lists []*ranker.SignalInput,
) ([]float64, error) {
	out := make([]float64, len(m.Signals))
	for i, signal := range m.Signals {
		for _, in := range lists {
			block := make([]float32, len(in.Request.Candidates)*len(signal.Columns()))
			times := make([]time.Duration, timedRounds)
			for round := range times {
				start := time.Now()
				if err := signal.Compute(ctx, in, block); err != nil {
					return nil, fmt.Errorf("signal %v: %w", signal.Columns(), err)
				}
				times[round] = time.Since(start)
			}
			slices.Sort(times)
			median := times[timedRounds/2]
			out[i] += float64(median.Nanoseconds()) / 1000 / float64(len(lists))
		}
	}
	return out, nil
}
