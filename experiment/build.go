package experiment

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"relish/experiment/targeting"
)

// namePattern is the form of the names of layers, experiments and arms. They appear in answers,
// logs and file names.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// checkName reports a name that is missing, malformed or already in seen, and adds it to seen.
func checkName(loc location, name string, seen map[string]bool) {
	switch {
	case name == "":
		loc.errorAt("name", "is required")
	case !namePattern.MatchString(name):
		loc.errorAt("name", "%.70q is not a valid name; write 1 to 64 of A-Z, a-z, 0-9, _, . "+
			"and -, beginning with a letter or digit", name)
	case seen[name]:
		loc.errorAt("name", "%q is already taken; choose another name", name)
	}
	seen[name] = true
}

// build compiles the file. It continues after a problem, so that all problems are reported.
func build(f *fileConfig, root location, version string) *Set {
	s := &Set{Version: version}
	if f.Holdout != nil {
		s.Holdout = buildHoldout(f.Holdout, root.key("holdout"))
	}
	layers := root.key("layers")
	if !root.has("layers") {
		// An empty or truncated file must not end all experiments.
		layers.errorf("is required; write layers: [] for none")
	}
	if len(f.Layers) > MaxLayers {
		layers.errorf("%d layers; at most %d are allowed", len(f.Layers), MaxLayers)
	}
	layerNames, experiments := map[string]bool{}, map[string]bool{}
	for i := range f.Layers {
		l, loc := &f.Layers[i], layers.index(i)
		checkName(loc, l.Name, layerNames)
		layer := Layer{Name: l.Name}
		for k := range l.Experiments {
			at := loc.key("experiments").index(k)
			checkName(at, l.Experiments[k].Name, experiments)
			e := buildExperiment(&l.Experiments[k], at)
			e.Layer = l.Name
			s.readsUser = s.readsUser || e.readsUser()
			s.checkForced(e, at)
			layer.Experiments = append(layer.Experiments, e)
		}
		s.Layers = append(s.Layers, layer)
	}
	if len(experiments) > MaxExperiments {
		layers.errorf("%d experiments; at most %d are allowed", len(experiments), MaxExperiments)
	}
	return s
}

func (e *Experiment) readsUser() bool {
	return e.Condition != nil && slices.Contains(e.Condition.AttributeNames(), targeting.AttrUser)
}

func buildHoldout(f *holdoutConfig, loc location) *Holdout {
	if !(f.Share >= 0 && f.Share < 1) {
		loc.errorAt("share", "%g is out of range; write at least 0 and below 1", f.Share)
	}
	h := &Holdout{Share: f.Share, Seed: f.Seed}
	if h.Seed == "" {
		h.Seed = "holdout"
	}
	h.hashState = fnv1a(fnvOffset, h.Seed)
	return h
}

// checkForced reports forced users that are in the holdout. The holdout never gets an arm, and a
// tester who silently sees none would look for the error in the wrong place.
func (s *Set) checkForced(e *Experiment, loc location) {
	for user := range e.forced {
		if h := s.Holdout; h != nil && bucket(h.hashState, user) < h.Share {
			loc.key("force").forcedUser(user).errorf("this user is in the holdout, which gets " +
				"no arm; force another user, or change holdout.seed")
		}
	}
}

func buildExperiment(f *experimentConfig, loc location) *Experiment {
	e := &Experiment{
		Name: f.Name, Description: f.Description, Mode: f.Mode,
		HashAttribute: f.HashAttribute, Seed: f.Seed, Coverage: 1,
	}
	if e.Mode == "" {
		e.Mode = ModeSplit
	}
	if e.Mode != ModeSplit && e.Mode != ModeInterleave {
		loc.errorAt("mode", "%q is unknown; write split or interleave", e.Mode)
	}
	if e.HashAttribute == "" {
		e.HashAttribute = HashUser
	}
	if e.HashAttribute == targeting.AttrID {
		loc.errorAt("hash_attribute", "%q is not an attribute to assign by; "+
			"write user for the user's id", e.HashAttribute)
	}
	if e.Seed == "" {
		e.Seed = e.Name
	}
	if !utf8.ValidString(e.Seed) {
		loc.errorAt("seed", "is not valid UTF-8; write it in UTF-8")
	}
	e.hashState = fnv1a(fnvOffset, e.Seed)
	if f.Coverage != nil {
		e.Coverage = *f.Coverage
	}
	if !(e.Coverage >= 0 && e.Coverage <= 1) {
		loc.errorAt("coverage", "%g is out of range; write 0 to 1", e.Coverage)
	}
	if loc.has("namespace") {
		e.Namespace = buildNamespace(f.Namespace, loc.key("namespace"))
	}
	e.buildTimes(f, loc)
	if f.Condition.Kind != 0 {
		e.buildCondition(&f.Condition, loc.key("condition"))
	}
	e.buildArms(f.Arms, loc)
	e.buildForced(f.Force, loc.key("force"))
	e.buildMetrics(f, loc)
	return e
}

func buildNamespace(list []any, loc location) *Namespace {
	n := &Namespace{}
	var ok [3]bool
	if len(list) == 3 {
		n.ID, ok[0] = list[0].(string)
		n.Start, ok[1] = asNumber(list[1])
		n.End, ok[2] = asNumber(list[2])
	}
	if ok != [3]bool{true, true, true} || n.ID == "" ||
		!(n.Start >= 0 && n.Start < n.End && n.End <= 1) {
		loc.errorf("%v is not a part of a namespace; "+
			"write [NAME, START, END] with 0 <= START < END <= 1", list)
	}
	return n
}

func asNumber(x any) (float64, bool) {
	switch x := x.(type) {
	case float64:
		return x, true
	case int:
		return float64(x), true
	}
	return 0, false
}

func (e *Experiment) buildTimes(f *experimentConfig, loc location) {
	e.start, e.end = 0, math.MaxInt64
	for _, at := range []struct {
		key, text string
		to        *time.Time
		ms        *int64
	}{{"start", f.Start, &e.Start, &e.start}, {"end", f.End, &e.End, &e.end}} {
		if at.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, at.text)
		if err != nil {
			t, err = time.Parse(time.DateOnly, at.text)
		}
		if err != nil {
			loc.errorAt(at.key, "%.40q is not a time; write 2026-05-01 (UTC) or "+
				"2026-05-01T10:00:00Z", at.text)
			continue
		}
		*at.to, *at.ms = t, t.UnixMilli()
	}
	if e.end <= e.start {
		loc.errorAt("end", "is not after start; write a later time, or remove it")
	}
}

func (e *Experiment) buildCondition(n *yaml.Node, loc location) {
	var problems []targeting.Problem
	e.Condition, problems = targeting.Compile(n)
	for _, problem := range problems {
		at := loc
		at.node = &yaml.Node{Line: problem.Line}
		if problem.Key != "" {
			at.path += "." + problem.Key
		}
		at.errorf("%s", problem.Message)
	}
}

// buildForced reads which users get which arm regardless of the hash.
func (e *Experiment) buildForced(force map[string]any, loc location) {
	if len(force) == 0 {
		return
	}
	if e.Mode == ModeInterleave {
		loc.errorf("an interleaved experiment shows both arms to every user; remove force")
	}
	if len(force) > MaxForced {
		loc.errorf("%d users; at most %d are allowed", len(force), MaxForced)
	}
	e.forced = map[string]int{}
	for _, user := range slices.Sorted(maps.Keys(force)) {
		name, _ := force[user].(string)
		arm := slices.IndexFunc(e.Arms, func(a Arm) bool { return a.Name == name })
		if arm < 0 {
			loc.forcedUser(user).errorf("%.70q is not an arm of this experiment; "+
				"write the name of one", name)
		}
		e.forced[user] = arm
	}
}

// metricNames are the metrics that reports can compare arms by, besides reward:EXPR.
var metricNames = []string{
	"ctr", "conversion", "revenue", "ndcg", "latency", "degraded", "coverage", "diversity",
}

func checkMetric(loc location, name string) {
	expr, isReward := strings.CutPrefix(name, "reward:")
	if !slices.Contains(metricNames, name) && (!isReward || expr == "") {
		loc.errorf("%.40q is unknown; write one of %s, or reward:EXPR",
			name, strings.Join(metricNames, ", "))
	}
}

func (e *Experiment) buildMetrics(f *experimentConfig, loc location) {
	e.Metric, e.Guardrails = f.Metric, f.Guardrails
	if e.Metric == "" {
		e.Metric = "ctr"
	}
	checkMetric(loc.key("metric"), e.Metric)
	for i, g := range e.Guardrails {
		at := loc.key("guardrails").index(i)
		checkMetric(at.key("metric"), g.Metric)
		if !(g.Margin > 0 && g.Margin < 1) {
			at.errorAt("margin", "%g is out of range; write a share of control's value, "+
				"above 0 and below 1", g.Margin)
		}
	}
	e.AutoStop = f.AutoStop == "guardrail"
	switch {
	case f.AutoStop != "" && !e.AutoStop:
		loc.errorAt("auto_stop", "%.40q is unknown; write guardrail", f.AutoStop)
	case e.AutoStop && len(e.Guardrails) == 0:
		loc.errorAt("auto_stop", "there are no guardrails to stop at; add guardrails")
	case e.AutoStop && e.Mode == ModeInterleave:
		loc.errorAt("auto_stop", "interleaving cannot measure guardrails, since both arms share "+
			"one list; remove auto_stop")
	case e.AutoStop && e.HashAttribute != HashUser && e.HashAttribute != HashSession:
		loc.errorAt("auto_stop", "only experiments by user or session have reports; "+
			"remove auto_stop")
	}
}
