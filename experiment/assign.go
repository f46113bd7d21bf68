package experiment

import (
	"math"
	"strconv"
	"unsafe"

	"relish/experiment/targeting"
	"relish/ranker"
)

// Assign appends the experiments that the subject is in to dst, one a layer at most, in the order of the
// layers. It is pure, does no I/O, and allocates nothing where dst has room.
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

// Assignments returns the request's trials as the pipeline takes them. user holds the user's fields, nil when
// they are not known; now is Unix ms.
func (s *Set) Assignments(req *ranker.Request, user map[string]ranker.FieldValue, now int64) []ranker.Assignment {
	var buf [MaxLayers]Choice
	sub := Subject{Attributes: targeting.Attributes{ID: req.User, Session: req.Session, Context: req.Context, User: user}, Now: now}
	choices := s.Assign(buf[:0], &sub)
	trials := make([]ranker.Assignment, len(choices))
	for i, c := range choices {
		trials[i] = ranker.Assignment{Experiment: c.Name, Parts: c.Parts, Control: c.Arms[0].Change, Arm: c.Arms[c.Arm].Change, Forced: c.Forced}
		if c.Mode == ModeInterleave {
			trials[i].Arm, trials[i].Interleave = c.Arms[1].Change, true
		}
	}
	return trials
}

// assign draws the experiment's arm.
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

// hashValue returns the value that decides, "" for a subject that has none: it is in no arm, as in
// GrowthBook. A number is written as JavaScript writes it; one that needs an exponent is none.
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
			return unsafe.String(&digits[0], len(digits)) // the caller's buffer, which nobody writes to again
		}
	}
	return ""
}
