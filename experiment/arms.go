package experiment

import (
	"math"
	"slices"
	"strings"
	"time"

	"relish/ranker"
	"relish/ranker/rules"
)

// maxDeadline is the longest deadline of an arm, and of a request.
const maxDeadline = 10 * time.Second

// weightTolerance is how far the sum of the weights may be from 1. It allows 0.333 for a third.
const weightTolerance = 0.002

// buildArms compiles the arms and lays out their hash ranges.
func (e *Experiment) buildArms(configs []armConfig, loc location) {
	arms := loc.key("arms")
	switch n := len(configs); {
	case n < 2 || n > MaxArms:
		arms.errorf("%d arms; write 2 to %d, control first", n, MaxArms)
	case e.Mode == ModeInterleave && n != 2:
		arms.errorf("%d arms; an interleaved answer is drafted from exactly 2", n)
	}
	seen := map[string]bool{}
	for i := range configs {
		arm := arms.index(i)
		checkName(arm, configs[i].Name, seen)
		if configs[i].Name == ranker.InterleavedArm {
			arm.errorAt("name", "%q is reserved for answers that show both arms; "+
				"choose another name", ranker.InterleavedArm)
		}
		change := buildChange(&configs[i], arm)
		e.Parts |= change.Sets
		if e.Mode == ModeInterleave {
			checkInterleaved(&configs[i], change, arm)
		}
		e.Arms = append(e.Arms, Arm{Name: configs[i].Name, Change: change})
	}
	if e.Mode == ModeInterleave {
		e.ranges = Ranges(e.Coverage, []float64{1})
		return
	}
	weights := buildWeights(configs, arms)
	for i := range e.Arms {
		e.Arms[i].Weight = weights[i]
	}
	e.ranges = Ranges(e.Coverage, weights)
}

// checkInterleaved rejects what cannot differ between the two lists of one answer.
func checkInterleaved(a *armConfig, change *ranker.Arm, loc location) {
	if a.Weight != nil {
		loc.errorAt("weight", "an interleaved experiment has no weights, since each arm makes "+
			"half of every answer; remove it")
	}
	if shared := change.Sets & (ranker.PartExploration | ranker.PartDeadline); shared != 0 {
		loc.errorf("%s cannot differ between the two arms of one answer; "+
			"remove it, or use mode: split", shared)
	}
}

// buildWeights returns the arms' weights, equal ones if none is given.
func buildWeights(configs []armConfig, loc location) []float64 {
	weights := make([]float64, len(configs))
	given, sum := 0, 0.0
	for i := range configs {
		weights[i] = 1 / float64(len(configs))
		if w := configs[i].Weight; w != nil {
			if !(*w >= 0 && *w <= 1) {
				loc.index(i).key("weight").errorf("%g is out of range; write 0 to 1", *w)
			}
			weights[i] = *w
			given++
		}
		sum += weights[i]
	}
	switch {
	case given != 0 && given != len(configs):
		loc.errorf("%d of %d arms have a weight; give one to every arm or to none",
			given, len(configs))
	case len(configs) > 0 && !(math.Abs(sum-1) <= weightTolerance):
		loc.errorf("the weights add up to %g; they must add up to 1", sum)
	}
	return weights
}

// buildChange compiles what an arm changes.
func buildChange(a *armConfig, loc location) *ranker.Arm {
	c := &ranker.Arm{Name: a.Name, Model: a.Bundle, ScorerParams: a.Scorer}
	if loc.has("bundle") {
		c.Sets |= ranker.PartModel
		if a.Bundle == "" {
			loc.errorAt("bundle", "is empty; write a bundle version, or remove the key")
		}
	}
	if loc.has("scorer") {
		c.Sets |= ranker.PartScorer
		if len(a.Scorer) == 0 {
			loc.errorAt("scorer", "is empty; write parameters of the scorer, or remove the key")
		}
		for name, x := range a.Scorer {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				loc.key("scorer").key(name).errorf("is not finite; write a number")
			}
		}
	}
	if a.Text != nil {
		c.Sets, c.Text = c.Sets|ranker.PartText, *a.Text
	}
	if a.DeadlineMS != nil {
		c.Sets |= ranker.PartDeadline
		c.Deadline = time.Duration(*a.DeadlineMS) * time.Millisecond
		if c.Deadline < time.Millisecond || c.Deadline > maxDeadline {
			loc.errorAt("deadline_ms", "%d is out of range; write 1 to %d",
				*a.DeadlineMS, maxDeadline.Milliseconds())
		}
	}
	buildRules(c, &a.Rules, loc.key("rules"))
	return c
}

// ruleKeys are the keys under rules that configure each kind of rule. A key that is present changes
// the rule, even if it is null or an empty list. The arm then has no such rule.
var ruleKeys = [...][]string{
	ranker.RuleFilter:      {"filter_seen", "filters"},
	ranker.RuleBoost:       {"boosts"},
	ranker.RuleDiversity:   {"diversity"},
	ranker.RulePin:         {"pins"},
	ranker.RuleExploration: {"exploration"},
}

// buildRules compiles the arm's rules.
func buildRules(c *ranker.Arm, cfg *rules.Config, loc location) {
	for slot, keys := range ruleKeys {
		if slices.ContainsFunc(keys, loc.has) {
			c.Sets |= ranker.RuleKind(slot).Part()
		}
	}
	set, err := rules.New(*cfg)
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			// The message begins with rules.KEY. Report it at the line of KEY.
			line = strings.TrimPrefix(line, "rules.")
			key := line[:strings.IndexAny(line+":", "[.:")]
			at := loc.key(key)
			at.path = loc.path + "." + key
			at.errorf("%s", strings.TrimPrefix(line[len(key):], ": "))
		}
		return
	}
	c.Rules = set
}

// checkOverlaps proves that no request gets conflicting arms. Two experiments that can take the
// same request must be in different layers, change different parts, and use different seeds.
func (s *Set) checkOverlaps(root location) {
	var earlier []*Experiment
	for i, l := range s.Layers {
		for k, e := range l.Experiments {
			loc := root.key("layers").index(i).key("experiments").index(k)
			for _, b := range earlier {
				if b.overlaps(e) {
					checkPairOverlap(b, e, loc)
				}
			}
			earlier = append(earlier, e)
		}
	}
}

// overlaps reports whether one request can be in both experiments.
func (e *Experiment) overlaps(b *Experiment) bool {
	if e.end <= b.start || b.end <= e.start {
		return false
	}
	x, y := e.Namespace, b.Namespace
	disjoint := x != nil && y != nil && x.ID == y.ID && e.HashAttribute == b.HashAttribute &&
		(x.End <= y.Start || y.End <= x.Start)
	return !disjoint
}

// checkPairOverlap checks two experiments that can take the same request.
func checkPairOverlap(b, e *Experiment, loc location) {
	if b.Layer == e.Layer {
		loc.errorf("may take the same users as %s of the same layer; give them disjoint parts "+
			"of one namespace, or times that do not overlap", b.Name)
		return
	}
	if b.Seed == e.Seed {
		loc.errorAt("seed", "%q is also the seed of %s, so both would get the same users; "+
			"choose another one", e.Seed, b.Name)
	}
	if b.Mode == ModeInterleave && e.Mode == ModeInterleave {
		loc.errorAt("mode", "%s interleaves as well, and an answer shows two arms at most; "+
			"put both into one layer", b.Name)
	}
	if both := scoringParts(b.Parts) & scoringParts(e.Parts); both != 0 {
		loc.errorf("changes %s, as %s of layer %s does; "+
			"put experiments on the same part into one layer", both, b.Name, b.Layer)
	}
}

// scoringParts treats bundle and scorer as one part, since scorer parameters belong to a bundle.
func scoringParts(p ranker.RankingPart) ranker.RankingPart {
	if both := ranker.PartModel | ranker.PartScorer; p&both != 0 {
		p |= both
	}
	return p
}
