package experiment

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"relish/experiment/targeting"
	"relish/ranker"
)

// Assign appends the experiments that the subject is in to dst, at most one for each layer, in the
// order of the layers. It is pure, does no I/O, and allocates nothing if dst has room.
func (s *Set) Assign(dst []Choice, sub *Subject) []Choice {
	if h := s.Holdout; h != nil && bucket(h.hashState, sub.ID) < h.Share {
		return dst
	}
	for i := range s.Layers {
		for _, e := range s.Layers[i].Experiments {
			if c, ok := e.assign(sub); ok {
				dst = append(dst, c)
				break
			}
		}
	}
	return dst
}

// Assignments returns the request's assignments for the ranking pipeline. user holds the user's
// fields, nil if they are not known. now is Unix ms.
func (s *Set) Assignments(
	req *ranker.Request, user map[string]ranker.FieldValue, now int64,
) []ranker.Assignment {
	var buf [MaxLayers]Choice
	sub := Subject{
		Attributes: targeting.Attributes{
			ID: req.User, Session: req.Session, Context: req.Context, User: user,
		},
		Now: now,
	}
	choices := s.Assign(buf[:0], &sub)
	out := make([]ranker.Assignment, len(choices))
	for i, c := range choices {
		out[i] = ranker.Assignment{
			Experiment: c.Name,
			Parts:      c.Parts,
			Control:    c.Arms[0].Change,
			Arm:        c.Arms[c.Arm].Change,
			Forced:     c.Forced,
		}
		if c.Mode == ModeInterleave {
			out[i].Arm, out[i].Interleave = c.Arms[1].Change, true
		}
	}
	return out
}

// assign draws the experiment's arm for the subject; ok is false if the subject is in none.
func (e *Experiment) assign(sub *Subject) (c Choice, ok bool) {
	c.Experiment = e
	if sub.Now < e.start || sub.Now >= e.end {
		return c, false
	}
	if arm, forced := e.forced[sub.ID]; forced {
		c.Arm, c.Forced = arm, true
		return c, true
	}
	var digits [32]byte
	value := e.hashValue(sub, digits[:0])
	if value == "" || e.Namespace != nil && !e.Namespace.Includes(value) {
		return c, false
	}
	x := bucket(e.hashState, value)
	for i := range e.ranges {
		if !e.ranges[i].Contains(x) {
			continue
		}
		if e.Condition != nil {
			v := sub.Value()
			if !e.Condition.Matches(&v) {
				return c, false
			}
		}
		c.Arm = i
		return c, true
	}
	return c, false
}

// hashValue returns the value that the arm depends on. It is "" for a subject that has none, which
// is then in no arm, as in GrowthBook. A number is written as JavaScript writes it; a number that
// needs an exponent counts as none.
func (e *Experiment) hashValue(sub *Subject, digits []byte) string {
	switch e.HashAttribute {
	case HashUser:
		return sub.ID
	case HashSession:
		return sub.Session
	}
	switch v := sub.Context[e.HashAttribute]; v.Kind {
	case ranker.String:
		return v.Str
	case ranker.Number:
		if abs := math.Abs(v.Num); abs >= 1e-6 && abs < 1e15 {
			if v.Num == math.Trunc(v.Num) {
				digits = strconv.AppendInt(digits, int64(v.Num), 10)
			} else {
				digits = strconv.AppendFloat(digits, v.Num, 'f', -1, 64)
			}
			// The caller does not write to its buffer again.
			return unsafe.String(&digits[0], len(digits))
		}
	}
	return ""
}

// Constants of the 32-bit FNV-1a hash (Fowler, Noll and Vo).
const (
	fnvOffset = 0x811c9dc5
	fnvPrime  = 0x01000193
)

// fnv1a continues an FNV-1a hash over the UTF-16 code units of s, as JavaScript's charCodeAt
// returns them, so that frontends get the same arm.
func fnv1a(h uint32, s string) uint32 {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return fnv1aUTF16(h, s[i:])
		}
		h = (h ^ uint32(s[i])) * fnvPrime
	}
	return h
}

// fnv1aUTF16 is fnv1a for text that is not ASCII.
func fnv1aUTF16(h uint32, s string) uint32 {
	for _, r := range s {
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			h = (h ^ uint32(high)) * fnvPrime
			r = low
		}
		h = (h ^ uint32(r)) * fnvPrime
	}
	return h
}

// bucket returns the position of a value, 0 to 0.9999 in steps of 1/10000: version 2 of the hash of
// GrowthBook. state is the hash state after the seed.
func bucket(state uint32, value string) float64 {
	x := fnv1a(state, value)
	// Two independent chains of divisions produce the decimal digits; the CPU runs them in
	// parallel.
	var digits [10]byte
	for i, high, low := 4, x/100_000, x%100_000; i >= 0; i-- {
		digits[i], digits[i+5] = '0'+byte(high%10), '0'+byte(low%10)
		high, low = high/10, low/10
	}
	at := 0
	for at < 9 && digits[at] == '0' {
		at++
	}
	h := uint32(fnvOffset)
	for _, c := range digits[at:] {
		h = (h ^ uint32(c)) * fnvPrime
	}
	return float64(h%10000) / 10000
}

// Range is the part of 0..1 from Start (included) to End (excluded).
type Range struct{ Start, End float64 }

// Contains reports whether x is in the range.
func (r Range) Contains(x float64) bool { return x >= r.Start && x < r.End }

// Ranges lays out the arms as GrowthBook does. Each arm starts at the sum of the weights before it
// and takes the coverage's share of its own weight. A growing coverage therefore moves nobody from
// one arm to another.
func Ranges(coverage float64, weights []float64) []Range {
	out := make([]Range, len(weights))
	sum := 0.0
	for i, w := range weights {
		out[i] = Range{sum, sum + coverage*w}
		sum += w
	}
	return out
}

// Namespace is a part of a namespace. Experiments with disjoint parts of one namespace exclude each
// other.
type Namespace struct {
	ID string
	Range
}

// Includes reports whether the value is in the part. The hash is GrowthBook's, version 1.
func (n *Namespace) Includes(value string) bool {
	h := fnv1a(fnv1a(fnv1a(fnvOffset, value), "__"), n.ID)
	return n.Contains(float64(h%1000) / 1000)
}
