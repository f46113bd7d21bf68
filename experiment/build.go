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

// namePattern are what layers, experiments and arms are called: they go into answers, logs and file names.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

func checkName(p location, name string, seen map[string]bool) {
	switch {
	case name == "":
		p.errorf("is required")
	case !namePattern.MatchString(name):
		p.key("name").errorf("%.70q must be 1 to 64 of A-Z, a-z, 0-9, _, . and -, and begin with a letter or digit", name)
	case seen[name]:
		p.key("name").errorf("%q stands twice", name)
	}
	seen[name] = true
}

// build makes the set; it goes on after a problem, so that all are found.
func build(f *fileConfig, root location, version string) *Set {
	s := &Set{Version: version}
	if f.Holdout != nil {
		s.Holdout = buildHoldout(f.Holdout, root.key("holdout"))
	}
	layers := root.key("layers")
	if !root.has("layers") {
		// An empty or cut-off file must not end all experiments.
		layers.errorf("is required; write layers: [] for none")
	}
	if len(f.Layers) > MaxLayers {
		layers.errorf("%d layers; at most %d are possible", len(f.Layers), MaxLayers)
	}
	layerNames, experiments := map[string]bool{}, map[string]bool{}
	for i := range f.Layers {
		l, p := &f.Layers[i], layers.index(i)
		checkName(p, l.Name, layerNames)
		layer := Layer{Name: l.Name}
		for k := range l.Experiments {
			q := p.key("experiments").index(k)
			checkName(q, l.Experiments[k].Name, experiments)
			e := buildExperiment(&l.Experiments[k], q)
			e.Layer = l.Name
			s.readsUser = s.readsUser || e.Condition != nil && slices.Contains(e.Condition.AttributeNames(), targeting.AttrUser)
			s.checkForced(e, q)
			layer.Experiments = append(layer.Experiments, e)
		}
		s.Layers = append(s.Layers, layer)
	}
	if len(experiments) > MaxExperiments {
		layers.errorf("%d experiments; at most %d are possible", len(experiments), MaxExperiments)
	}
	return s
}

func buildHoldout(f *holdoutConfig, p location) *Holdout {
	if !(f.Share >= 0 && f.Share < 1) {
		p.key("share").errorf("%g must be at least 0 and below 1", f.Share)
	}
	h := &Holdout{Share: f.Share, Seed: f.Seed}
	if h.Seed == "" {
		h.Seed = "holdout"
	}
	h.hashState = fnv1a(fnvOffset, h.Seed)
	return h
}

// checkForced refuses to force whom the holdout keeps: it never gets an arm, and a tester who silently
// sees none is worse off than one who is told.
func (s *Set) checkForced(e *Experiment, p location) {
	for user := range e.forced {
		if h := s.Holdout; h != nil && bucket(h.hashState, user) < h.Share {
			p.key("force").forcedUser(user).errorf("this user is in the holdout, which never gets an arm; force another one, or change holdout.seed")
		}
	}
}

func buildExperiment(f *experimentConfig, p location) *Experiment {
	e := &Experiment{Name: f.Name, Description: f.Description, Mode: f.Mode, HashAttribute: f.HashAttribute, Seed: f.Seed, Coverage: 1}
	if e.Mode == "" {
		e.Mode = ModeSplit
	}
	if e.Mode != ModeSplit && e.Mode != ModeInterleave {
		p.key("mode").errorf("%q is unknown; it is split or interleave", e.Mode)
	}
	if e.HashAttribute == "" {
		e.HashAttribute = HashUser
	}
	if e.HashAttribute == targeting.AttrID {
		p.key("hash_attribute").errorf("the user's id is called user here")
	}
	if e.Seed == "" {
		e.Seed = e.Name
	}
	if !utf8.ValidString(e.Seed) {
		p.key("seed").errorf("must be UTF-8")
	}
	e.hashState = fnv1a(fnvOffset, e.Seed)
	if f.Coverage != nil {
		e.Coverage = *f.Coverage
	}
	if !(e.Coverage >= 0 && e.Coverage <= 1) {
		p.key("coverage").errorf("%g must be 0 to 1", e.Coverage)
	}
	if p.has("namespace") {
		e.Namespace = buildNamespace(f.Namespace, p.key("namespace"))
	}
	e.buildTimes(f, p)
	if f.Condition.Kind != 0 {
		e.buildCondition(&f.Condition, p.key("condition"))
	}
	e.buildArms(f.Arms, p)
	e.buildForced(f.Force, p.key("force"))
	e.buildMetrics(f, p)
	return e
}

func buildNamespace(list []any, p location) *Namespace {
	n := &Namespace{}
	var ok [3]bool
	if len(list) == 3 {
		n.ID, ok[0] = list[0].(string)
		n.Start, ok[1] = asNumber(list[1])
		n.End, ok[2] = asNumber(list[2])
	}
	if ok != [3]bool{true, true, true} || n.ID == "" || !(n.Start >= 0 && n.Start < n.End && n.End <= 1) {
		p.errorf("must be [NAME, START, END] with 0 <= START < END <= 1")
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

func (e *Experiment) buildTimes(f *experimentConfig, p location) {
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
			p.key(at.key).errorf("%.40q is no time; write 2026-05-01 (UTC) or 2026-05-01T10:00:00Z", at.text)
			continue
		}
		*at.to, *at.ms = t, t.UnixMilli()
	}
	if e.end <= e.start {
		p.key("end").errorf("is not after start")
	}
}

func (e *Experiment) buildCondition(n *yaml.Node, p location) {
	var problems []targeting.Problem
	e.Condition, problems = targeting.Compile(n)
	for _, bad := range problems {
		q := p
		q.node = &yaml.Node{Line: bad.Line}
		if bad.Key != "" {
			q.path += "." + bad.Key
		}
		q.errorf("%s", bad.Message)
	}
}

// buildForced reads who gets which arm, whatever the hash says.
func (e *Experiment) buildForced(force map[string]any, p location) {
	if len(force) == 0 {
		return
	}
	if e.Mode == ModeInterleave {
		p.errorf("an interleaved experiment shows both arms to everybody")
	}
	if len(force) > MaxForced {
		p.errorf("%d users; at most %d are possible", len(force), MaxForced)
	}
	e.forced = map[string]int{}
	for _, user := range slices.Sorted(maps.Keys(force)) {
		name, _ := force[user].(string)
		arm := slices.IndexFunc(e.Arms, func(a Arm) bool { return a.Name == name })
		if arm < 0 {
			p.forcedUser(user).errorf("%.70q is no arm of this experiment", name)
		}
		e.forced[user] = arm
	}
}

// metricNames are what reports can compare arms by; "reward:EXPR" besides.
var metricNames = []string{"ctr", "conversion", "revenue", "ndcg", "latency", "degraded", "coverage", "diversity"}

func checkMetric(p location, name string) {
	if expr, reward := strings.CutPrefix(name, "reward:"); !slices.Contains(metricNames, name) && (!reward || expr == "") {
		p.errorf("%.40q is unknown; it is one of %v, or reward:EXPR", name, metricNames)
	}
}

func (e *Experiment) buildMetrics(f *experimentConfig, p location) {
	e.Metric, e.Guardrails = f.Metric, f.Guardrails
	if e.Metric == "" {
		e.Metric = "ctr"
	}
	checkMetric(p.key("metric"), e.Metric)
	for i, g := range e.Guardrails {
		q := p.key("guardrails").index(i)
		checkMetric(q.key("metric"), g.Metric)
		if !(g.Margin > 0 && g.Margin < 1) {
			q.key("margin").errorf("%g must be above 0 and below 1, a share of control's value", g.Margin)
		}
	}
	switch e.AutoStop = f.AutoStop == "guardrail"; {
	case f.AutoStop != "" && !e.AutoStop:
		p.key("auto_stop").errorf("%.40q is unknown; it is guardrail", f.AutoStop)
	case e.AutoStop && len(e.Guardrails) == 0:
		p.key("auto_stop").errorf("there are no guardrails to stop at")
	case e.AutoStop && e.Mode == ModeInterleave:
		p.key("auto_stop").errorf("both arms share one list, which tells of no guardrail")
	case e.AutoStop && e.HashAttribute != HashUser && e.HashAttribute != HashSession:
		p.key("auto_stop").errorf("only experiments by user or session can be reported on")
	}
}
