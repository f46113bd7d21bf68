package signals

import (
	"hash/maphash"
	"math"
	"slices"
	"unsafe"

	"relish/ranker"
)

// keptPosterior is what a user's residuals lead to, to be kept with the user's history.
type keptPosterior struct {
	source      uint64 // see userPosterior.source
	residuals   uint64 // see hashResiduals
	empty       bool   // there are no residuals
	logEvidence float32
	sum         keptSum
}

// bytes returns about how many bytes it takes.
func (k *keptPosterior) bytes() int {
	return 128 + 4*len(k.sum.weighted) + 8*len(k.sum.touched)
}

// keptSum is a vectorSum without zeros.
type keptSum struct {
	weighted []float32
	touched  []int32
	sparse   []float32 // aligned with touched
}

// keep returns a copy of the sum that product and sparseDot need.
func (s *vectorSum) keep() keptSum {
	kept := keptSum{weighted: slices.Clone(s.weighted), touched: slices.Clone(s.touched)}
	for _, v := range s.touched {
		kept.sparse = append(kept.sparse, s.sparse[v])
	}
	return kept
}

// restore makes s the sum that was kept, without its part dense.
func (s *vectorSum) restore(kept *keptSum) {
	s.clear()
	copy(s.weighted, kept.weighted)
	for i, v := range kept.touched {
		s.sparse[v], s.marked[v] = kept.sparse[i], true
	}
	s.touched = append(s.touched, kept.touched...)
}

// posterior makes u the posterior of the user's residuals. It is computed once for the same
// residuals: a new list without a click leaves them as they were.
func (g *ResidualGP) posterior(
	in *ranker.SignalInput, indices *ranker.ItemIndices, u *userPosterior,
) *keptPosterior {
	source, solved := u.source(in.State, indices), false
	var last *keptPosterior
	kept := ranker.OfHistory(in, g,
		func(k *keptPosterior) bool {
			last = k
			return k.source == source
		},
		func() (k *keptPosterior, bytes int) {
			residuals := g.Residuals(in.State.Shown, indices.Shown)
			residuals = g.addOlderClicks(residuals, in.State, indices)
			k, solved = u.solveUnless(last, residuals)
			k.source = source
			bytes = k.bytes()
			return k, bytes
		})
	if !kept.empty && !solved {
		u.sum.restore(&kept.sum)
	}
	return kept
}

// solveUnless makes u the posterior of the residuals, unless last, which may be nil, is of the same
// residuals or there are none.
func (u *userPosterior) solveUnless(
	last *keptPosterior, residuals []Residual,
) (k *keptPosterior, solved bool) {
	k = &keptPosterior{residuals: hashResiduals(residuals), empty: len(residuals) == 0}
	switch {
	case last != nil && last.residuals == k.residuals:
		*k = *last
	case !k.empty:
		u.set(residuals)
		k.sum, k.logEvidence, solved = u.sum.keep(), logEvidence(residuals), true
	}
	return k, solved
}

// logEvidence returns residual.evidence.
func logEvidence(residuals []Residual) float32 {
	evidence := 0.0
	for _, r := range residuals {
		evidence += float64(r.Precision)
	}
	return float32(math.Log1p(evidence))
}

var residualSeed = maphash.MakeSeed()

// source identifies, within this process, what the residuals are computed from: the shown lists and
// the recent interactions.
func (u *userPosterior) source(s *ranker.RequestState, indices *ranker.ItemIndices) uint64 {
	key := u.sourceKey[:0]
	key = append(key, uint64(len(s.Shown)))
	for i := range s.Shown {
		item := uint64(indices.Shown[i]) << 1
		if s.Shown[i].Clicked {
			item |= 1
		}
		key = append(key, item, uint64(s.Shown[i].Time))
	}
	for k := range s.Recent {
		key = append(key, uint64(indices.Recent[k]), uint64(s.Recent[k].Time))
	}
	u.sourceKey = key
	return maphash.Bytes(residualSeed, unsafe.Slice((*byte)(unsafe.Pointer(&key[0])), 8*len(key)))
}

// hashResiduals identifies residuals within this process.
func hashResiduals(residuals []Residual) uint64 {
	size := len(residuals) * int(unsafe.Sizeof(Residual{}))
	return maphash.Bytes(residualSeed,
		unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(residuals))), size))
}
