package signals

import (
	"slices"

	"github.com/viterin/vek/vek32"
)

// residualSystem multiplies by the kernel's products of one user's residuals, again and again. The
// field values of the residuals' items get numbers from 0 on, so that their sums lie close together
// in memory. It is not safe for concurrent use.
type residualSystem struct {
	kernel    *ItemKernel
	residuals []Residual
	rows      *rowSet   // the dense parts of the residuals' items
	numbers   []int32   // of the items' field values, residual after residual
	sums      []float32 // by number
	scaled    []float32 // by residual

	dense, weighted []float32 // as in vectorSum
	numberOf        []int32   // by field value; 0 except while begin runs
}

func newResidualSystem(k *ItemKernel) residualSystem {
	return residualSystem{
		kernel: k, dense: make([]float32, k.Dim()), weighted: make([]float32, k.Dim()),
		numberOf: make([]int32, len(k.Features.ValueWeights)),
	}
}

// begin makes it the system of the residuals. Call end after use.
func (s *residualSystem) begin(residuals []Residual) {
	k := s.kernel
	s.residuals, s.rows, s.numbers = residuals, newRowSet(k.Dim()), s.numbers[:0]
	count := int32(0)
	for _, r := range residuals {
		s.rows.add(k.denseVector(r.Item))
		for _, v := range k.ItemValues(r.Item) {
			if s.numberOf[v] == 0 {
				count++
				s.numberOf[v] = count
			}
			s.numbers = append(s.numbers, s.numberOf[v]-1)
		}
	}
	for _, r := range residuals {
		for _, v := range k.ItemValues(r.Item) {
			s.numberOf[v] = 0
		}
	}
	s.sums = slices.Grow(s.sums[:0], int(count))[:count]
	s.scaled = slices.Grow(s.scaled[:0], len(residuals))[:len(residuals)]
}

func (s *residualSystem) end() { s.rows.free() }

// multiply writes (I + Q K Q) p to out, where Q is the diagonal matrix of the roots and K has the
// kernel's products of the residuals' items.
func (s *residualSystem) multiply(roots, p, out []float32) {
	k := s.kernel
	vek32.Mul_Into(s.scaled, p, roots)
	clear(s.dense)
	clear(s.sums)
	s.rows.addTo(s.dense, s.scaled)
	numbers := s.numbers
	for i, r := range s.residuals {
		x := s.scaled[i]
		entries := k.entries[k.FirstValue[r.Item]:k.FirstValue[r.Item+1]]
		for j, number := range numbers[:len(entries)] {
			s.sums[number] += x * entries[j]
		}
		numbers = numbers[len(entries):]
	}
	vek32.Mul_Into(s.weighted, s.dense, k.denseWeights)
	products := s.rows.dots(s.weighted)
	numbers = s.numbers
	for i, r := range s.residuals {
		entries := k.weightedEntries[k.FirstValue[r.Item]:k.FirstValue[r.Item+1]]
		sparse := float32(0)
		for j, number := range numbers[:len(entries)] {
			sparse += s.sums[number] * entries[j]
		}
		numbers = numbers[len(entries):]
		out[i] = p[i] + roots[i]*(products[i]+sparse)
	}
}
