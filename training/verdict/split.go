package verdict

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"relish/internal/stats"
)

// Split is whether users fell to the arms as configured.
type Split struct {
	Expected []Num `json:"expected"` // shares, aligned with Report.Arms
	Assumed  bool  `json:"assumed"`  // no weights were given: equal shares
	Chi2     Num   `json:"chi2"`
	P        Num   `json:"p"`
	// Crossed users were seen in more than one arm. They count for nothing.
	Crossed int `json:"crossed_users"`
	// Suspects are the slices of users whose split alone is off, the worst first: where to look when P
	// is small.
	Suspects []Suspect `json:"suspects"`
	unknown  string    // an arm without a weight
}

// Suspect is one slice of users, by what was true at their first exposure.
type Suspect struct {
	Slice string `json:"slice"` // for example "day 2026-01-03"
	Users []int  `json:"users"` // aligned with Report.Arms
	P     Num    `json:"p"`     // corrected for the number of slices (Holm)
}

// mismatch is the level of the split's test: it is made at every look, and a mismatch voids the
// experiment, so a false alarm must be rare.
const mismatch = 0.001

// maxCrossed is the share of crossed users above which the assignment is not to be trusted.
const maxCrossed = 0.01

func (k *comparer) split() Split {
	s := Split{Assumed: k.opt.Weights == nil, Suspects: []Suspect{}}
	weights := make([]float64, len(k.order))
	for i, arm := range k.order {
		weights[i] = 1
		if !s.Assumed {
			if weights[i] = k.opt.Weights[k.arms.list[arm]]; weights[i] == 0 {
				s.unknown = k.arms.list[arm]
			}
		}
	}
	total := 0.0
	for _, w := range weights {
		total += w
	}
	for _, w := range weights {
		s.Expected = append(s.Expected, Num(w/total))
	}
	all, by := k.tally(&s)
	chi2, p := stats.SRM(all, weights)
	s.Chi2, s.P = Num(chi2), Num(p)
	if s.unknown == "" {
		s.Suspects = k.suspects(by, weights)
	}
	return s
}

// tally counts users by arm (in report order), over all and by slice, and the crossed ones.
func (k *comparer) tally(s *Split) (all []float64, by map[slice][]float64) {
	at := make([]int, len(k.arms.list))
	for i, arm := range k.order {
		at[arm] = i
	}
	all, by = make([]float64, len(at)), map[slice][]float64{}
	for i := range k.users {
		u := &k.users[i]
		if u.crossed && u.inWindow {
			s.Crossed++
		}
		if u.crossed || !u.inWindow {
			continue
		}
		all[at[u.arm]]++
		for _, name := range k.slices(u) {
			if by[name] == nil {
				by[name] = make([]float64, len(at))
			}
			by[name][at[u.arm]]++
		}
	}
	return all, by
}

// A slice is users with one thing in common at their first exposure: value of what.
type slice struct {
	what  int8 // one of the constants below, or the number of a segment's field
	value int32
}

const (
	byDay = -1 - iota
	byAnswer
	byKnown
	byModel
	byAllocation
)

// slices are what a user belongs to.
func (k *comparer) slices(u *user) []slice {
	out := append(k.buffer[:0], slice{byDay, u.firstDay}, slice{byAnswer, int32(u.degraded)}, slice{byKnown, known(u)},
		slice{byModel, int32(u.model)}, slice{byAllocation, int32(u.allocation)})
	for f := range k.opt.Segments {
		out = append(out, slice{int8(f), int32(u.segments[f])})
	}
	k.buffer = out
	return out
}

func known(u *user) int32 {
	if u.known {
		return 1
	}
	return 0
}

// call names a slice for people.
func (k *comparer) call(s slice) string {
	switch s.what {
	case byDay:
		return "day " + day(s.value)
	case byAnswer:
		return "answer: " + k.degraded.list[s.value]
	case byKnown:
		return [...]string{"new users", "known users"}[s.value]
	case byModel:
		return "model " + cmp.Or(k.models.list[s.value], "unknown")
	case byAllocation:
		return "allocation " + cmp.Or(k.allocations.list[s.value], "unknown")
	}
	return fmt.Sprintf("%s %s", k.opt.Segments[s.what], k.segments[s.what].list[s.value])
}

func day(d int32) string {
	return time.UnixMilli(int64(d) * dayMillis).UTC().Format(time.DateOnly)
}

// suspects tests every slice by itself. A slice that only one arm has is that arm's doing, as its own
// bundle is, and no suspect.
func (k *comparer) suspects(by map[slice][]float64, weights []float64) []Suspect {
	out := []Suspect{}
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
		_, p := stats.SRM(counts, weights)
		out, ps = append(out, Suspect{Slice: k.call(name), Users: users}), append(ps, p)
	}
	for i, p := range stats.Holm(ps) {
		out[i].P = Num(p)
	}
	out = slices.DeleteFunc(out, func(s Suspect) bool { return !(float64(s.P) < mismatch) })
	slices.SortFunc(out, func(a, b Suspect) int {
		return cmp.Or(cmp.Compare(a.P, b.P), cmp.Compare(a.Slice, b.Slice))
	})
	return out[:min(maxSuspects, len(out))]
}

const maxSuspects = 5

// crossedShare is the share of users that were seen in more than one arm.
func (s *Split) crossedShare(arms []Arm) float64 {
	n := s.Crossed
	for _, a := range arms {
		n += a.Users
	}
	return float64(s.Crossed) / math.Max(1, float64(n))
}
