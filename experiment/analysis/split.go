package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"relish/internal/stats"
)

// SampleRatio is whether users fell to the arms as configured.
type SampleRatio struct {
	Expected []Float `json:"expected"` // shares, aligned with Report.Arms
	Assumed  bool    `json:"assumed"`  // no weights were given: equal shares
	Chi2     Float   `json:"chi2"`
	P        Float   `json:"p"`
	// Crossed users were seen in more than one arm. They count for nothing.
	Crossed int `json:"crossed_users"`
	// Causes are the slices of users whose split alone is off, the worst first: where to look when P
	// is small.
	Causes           []SRMCause `json:"suspects"`
	armWithoutWeight string     // an arm without a weight
}

// SRMCause is one slice of users, by what was true at their first exposure.
type SRMCause struct {
	Slice string `json:"slice"` // for example "day 2026-01-03"
	Users []int  `json:"users"` // aligned with Report.Arms
	P     Float  `json:"p"`     // corrected for the number of slices (Holm)
}

// srmAlpha is the level of the split's test: it is made at every look, and a mismatch voids the
// experiment, so a false alarm must be rare.
const srmAlpha = 0.001

// maxCrossedShare is the share of crossed users above which the assignment is not to be trusted.
const maxCrossedShare = 0.01

func (k *comparer) checkSampleRatio() SampleRatio {
	s := SampleRatio{Assumed: k.opt.Weights == nil, Causes: []SRMCause{}}
	weights := make([]float64, len(k.order))
	for i, arm := range k.order {
		weights[i] = 1
		if !s.Assumed {
			if weights[i] = k.opt.Weights[k.arms.list[arm]]; weights[i] == 0 {
				s.armWithoutWeight = k.arms.list[arm]
			}
		}
	}
	total := 0.0
	for _, w := range weights {
		total += w
	}
	for _, w := range weights {
		s.Expected = append(s.Expected, Float(w/total))
	}
	all, by := k.countUsers(&s)
	chi2, p := stats.SampleRatioMismatch(all, weights)
	s.Chi2, s.P = Float(chi2), Float(p)
	if s.armWithoutWeight == "" {
		s.Causes = k.findCauses(by, weights)
	}
	return s
}

// countUsers counts users by arm (in report order), over all and by slice, and the crossed ones.
func (k *comparer) countUsers(s *SampleRatio) (all []float64, by map[userSlice][]float64) {
	at := make([]int, len(k.arms.list))
	for i, arm := range k.order {
		at[arm] = i
	}
	all, by = make([]float64, len(at)), map[userSlice][]float64{}
	for i := range k.users {
		u := &k.users[i]
		if u.crossed && u.inWindow {
			s.Crossed++
		}
		if u.crossed || !u.inWindow {
			continue
		}
		all[at[u.arm]]++
		for _, name := range k.slicesOf(u) {
			if by[name] == nil {
				by[name] = make([]float64, len(at))
			}
			by[name][at[u.arm]]++
		}
	}
	return all, by
}

// A slice is users with one thing in common at their first exposure: value of what.
type userSlice struct {
	dimension int8 // one of the constants below, or the number of a segment's field
	value     int32
}

const (
	byDay = -1 - iota
	byAnswer
	byKnown
	byModel
	byAllocation
)

// slicesOf are what a user belongs to.
func (k *comparer) slicesOf(u *user) []userSlice {
	out := append(k.buffer[:0], userSlice{byDay, u.firstDay}, userSlice{byAnswer, int32(u.answer)}, userSlice{byKnown, knownUser(u)},
		userSlice{byModel, int32(u.model)}, userSlice{byAllocation, int32(u.allocation)})
	for f := range k.opt.Segments {
		out = append(out, userSlice{int8(f), int32(u.segments[f])})
	}
	k.buffer = out
	return out
}

func knownUser(u *user) int32 {
	if u.known {
		return 1
	}
	return 0
}

// sliceName names a slice for people.
func (k *comparer) sliceName(s userSlice) string {
	switch s.dimension {
	case byDay:
		return "day " + formatDay(s.value)
	case byAnswer:
		return "answer: " + k.answers.list[s.value]
	case byKnown:
		return [...]string{"new users", "known users"}[s.value]
	case byModel:
		return "model " + cmp.Or(k.models.list[s.value], "unknown")
	case byAllocation:
		return "allocation " + cmp.Or(k.allocations.list[s.value], "unknown")
	}
	return fmt.Sprintf("%s %s", k.opt.Segments[s.dimension], k.segments[s.dimension].list[s.value])
}

func formatDay(d int32) string {
	return time.UnixMilli(int64(d) * dayMillis).UTC().Format(time.DateOnly)
}

// findCauses tests every slice by itself. A slice that only one arm has is that arm's doing, as its own
// bundle is, and no suspect.
func (k *comparer) findCauses(by map[userSlice][]float64, weights []float64) []SRMCause {
	out := []SRMCause{}
	var ps []float64
	for name, counts := range by {
		users, arms := make([]int, len(counts)), 0
		for i, n := range counts {
			if users[i] = int(n); n > 0 {
				arms++
			}
		}
		if arms < 2 {
			continue
		}
		_, p := stats.SampleRatioMismatch(counts, weights)
		out, ps = append(out, SRMCause{Slice: k.sliceName(name), Users: users}), append(ps, p)
	}
	for i, p := range stats.Holm(ps) {
		out[i].P = Float(p)
	}
	out = slices.DeleteFunc(out, func(s SRMCause) bool { return !(float64(s.P) < srmAlpha) })
	slices.SortFunc(out, func(a, b SRMCause) int {
		return cmp.Or(cmp.Compare(a.P, b.P), cmp.Compare(a.Slice, b.Slice))
	})
	return out[:min(maxCauses, len(out))]
}

const maxCauses = 5

// crossedShare is the share of users that were seen in more than one arm.
func (s *SampleRatio) crossedShare(arms []Arm) float64 {
	n := s.Crossed
	for _, a := range arms {
		n += a.Users
	}
	return float64(s.Crossed) / math.Max(1, float64(n))
}
