package analysis

import (
	"fmt"
	"slices"
	"strings"

	"relish/ranker"
)

// assignedArm returns the arm that the impression's user was assigned to, and whether it was reached. Where
// control stood in for an arm the user still counts for the arm: what is compared is what was meant
// to be served. What others than Relish recorded says nothing of exposure, and counts.
func assignedArm(e *ranker.Event, experiment string) (arm string, exposed bool) {
	arm, exposed = e.Impression.Experiments[experiment]
	if e.Impression.Served {
		if meant, ok := e.Impression.Fallback[experiment]; ok {
			return meant, true
		}
		exposed = exposed && slices.Contains(e.Impression.Exposed, experiment)
	}
	return arm, exposed
}

// expose notes the arm that user i is seen in.
func (c *collector) expose(i int, arm string, e *ranker.Event, at int64, inWindow bool) error {
	u := &c.users[i]
	if n := c.arms.id(arm); n > maxArms {
		return fmt.Errorf("experiment %s has more than %d arms in the log", c.opt.Experiment, maxArms)
	} else if u.arm == noArm {
		u.arm = int16(n)
		u.known = slices.ContainsFunc(c.countsOf(i, prePeriod), func(x float32) bool { return x != 0 })
	} else if int(u.arm) != n && c.interleavedArms[0] == "" { // who is interleaved has both arms
		u.crossed = true
	}
	if !inWindow || u.inWindow {
		return nil
	}
	u.inWindow = true
	u.firstDay = dayOf(at)
	u.day = u.firstDay
	u.model = uint8(c.models.id(e.Impression.Model))
	u.allocation = uint8(c.allocations.id(allocation(e)))
	u.answer = uint8(c.answers.id(answerQuality(e, c.opt.Experiment)))
	for k, field := range c.opt.Segments {
		u.segments[k] = uint8(c.segments[k].id(fieldText(e.Impression.Context[field])))
	}
	return nil
}

// maxArms bounds what a wrong log can make grow.
const maxArms = 64

func allocation(e *ranker.Event) string {
	return e.Impression.ExperimentsVersion
}

// answerQuality names the worst that was left out of an answer.
func answerQuality(e *ranker.Event, experiment string) string {
	switch {
	case !e.Impression.Served:
		return "not recorded by the service"
	case e.Impression.Fallback[experiment] != "":
		return "control stood in"
	case len(e.Impression.Degraded) == 0:
		return "full answer"
	}
	for _, worst := range []string{ranker.InputOrder, ranker.ScorerFallback} {
		if slices.Contains(e.Impression.Degraded, worst) {
			return worst
		}
	}
	return e.Impression.Degraded[len(e.Impression.Degraded)-1]
}

func fieldText(v ranker.FieldValue) string {
	switch v.Kind {
	case ranker.NoValue:
		return "none"
	case ranker.String:
		if len(v.Str) > 40 {
			return otherValue
		}
		return v.Str
	}
	return strings.Trim(fmt.Sprint(v), `"`)
}
