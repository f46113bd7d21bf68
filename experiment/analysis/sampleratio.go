package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"relish/internal/stats"
)

// SampleRatio says whether users were split between the arms as configured. A sample ratio mismatch
// (SRM) voids an experiment: whatever lost users of one arm may have selected which ones.
type SampleRatio struct {
	Expected []Float `json:"expected"` // shares, aligned with Report.Arms
	Assumed  bool    `json:"assumed"`  // no weights were given: equal shares
	Chi2     Float   `json:"chi2"`
	P        Float   `json:"p"` // of the test of Expected
	// Crossed users were seen in more than one arm. They are left out of everything else.
	Crossed int `json:"crossed_users"`
	// Causes are the slices of users whose own split is off, worst first. They show where to look
	// if P is small.
	Causes           []SRMCause `json:"causes"`
	armWithoutWeight string     // "" if every arm has one
}

// SRMCause is a slice of users whose split is off, by what was true at their first exposure.
type SRMCause struct {
	Slice string `json:"slice"` // for example "day 2026-01-03"
	Users []int  `json:"users"` // aligned with Report.Arms
	P     Float  `json:"p"`     // corrected for the number of slices (Holm)
}

// srmAlpha is the level of the sample ratio test. The test is repeated at every look and a mismatch
// voids the experiment, so a false alarm must be rare.
const srmAlpha = 0.001

// maxCrossedShare is the share of crossed users above which the assignment cannot be trusted.
const maxCrossedShare = 0.01

// checkSampleRatio tests the users' split against the weights and searches for the cause of a
// mismatch (Fabijan et al., Diagnosing sample ratio mismatch in online controlled experiments, KDD
// 2019).
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

// countUsers counts users by arm, in report order, over all users and by slice. It also counts the
// crossed ones.
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

// userSlice is the set of users that share one value at their first exposure.
type userSlice struct {
	dimension int8 // one of the constants below, or the index of a segment's field
	value     int32
}

// The dimensions beside the segments' fields, as values of userSlice.dimension.
const (
	byDay        = -1 - iota
	byAnswer     // quality of the answer, see answerQuality
	byKnown      // whether the user did something before
	byModel      // bundle
	byAllocation // version of the experiments file
)

// slicesOf returns the slices that a user belongs to. The result is valid until the next call.
func (k *comparer) slicesOf(u *user) []userSlice {
	k.buffer = append(k.buffer[:0],
		userSlice{byDay, u.firstDay},
		userSlice{byAnswer, int32(u.answer)},
		userSlice{byKnown, knownUser(u)},
		userSlice{byModel, int32(u.model)},
		userSlice{byAllocation, int32(u.allocation)},
	)
	for f := range k.opt.Segments {
		k.buffer = append(k.buffer, userSlice{int8(f), int32(u.segments[f])})
	}
	return k.buffer
}

func knownUser(u *user) int32 {
	if u.known {
		return 1
	}
	return 0
}

// sliceName returns the name of a slice for the report.
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

// findCauses tests every slice on its own. A slice that only one arm has, such as the arm's own
// bundle, is no cause: the arm itself made it.
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

// maxCauses bounds how many causes are reported.
const maxCauses = 5

// crossedShare returns the share of users that were seen in more than one arm.
func (s *SampleRatio) crossedShare(arms []Arm) float64 {
	n := s.Crossed
	for _, a := range arms {
		n += a.Users
	}
	return float64(s.Crossed) / math.Max(1, float64(n))
}

// mismatch describes a sample ratio mismatch and says where to look.
func (s *SampleRatio) mismatch() string {
	assumed := ""
	if s.Assumed {
		assumed = " (equal shares were assumed; pass the weights if they differ)"
	}
	where := "No slice of the users stands out. Check the assignment and what loses impressions."
	if len(s.Causes) > 0 {
		where = fmt.Sprintf("Look first at the slice %q.", s.Causes[0].Slice)
	}
	return fmt.Sprintf("users are not split as configured%s, p = %.2g. %s",
		assumed, float64(s.P), where)
}
