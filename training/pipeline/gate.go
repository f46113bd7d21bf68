package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"relish/evaluation"
	"relish/internal/plural"
	"relish/internal/stats"
	"relish/ranker/bundle"
	"relish/training"
	"relish/training/modelcard"
)

const (
	// maxNDCGLoss is the mean loss of NDCG that the gate tolerates. Two trainings of equal models
	// differ by as much.
	maxNDCGLoss = 0.003
	// minGateLists is the number of lists below which the gate decides nothing: chance alone then
	// moves a difference of NDCG by several hundredths.
	minGateLists = 200
)

// decide is the gate. It activates the new bundle unless the measurement has too few lists, or the
// bundle is worse than the active model or than a plain baseline. Worse means by more than
// maxNDCGLoss on average, or with an interval below zero. forceReason, if not empty, activates the
// bundle in any case.
func decide(m *measurement, active *activeModel, forceReason string) (*modelcard.Gate, error) {
	d, ok := m.table.Difference(newModelName, m.activeName, evaluation.AllLists)
	if !ok {
		return nil, fmt.Errorf("gate: the measurement does not compare %s with %s",
			newModelName, m.activeName)
	}
	var reasons []string // against the bundle
	if m.table.Lists < minGateLists {
		reasons = append(reasons, fmt.Sprintf("too few lists to decide: %d of at least %d",
			m.table.Lists, minGateLists))
	}
	for _, name := range m.baselines {
		b, ok := m.table.Difference(newModelName, name, evaluation.AllLists)
		if ok && isWorse(b.NDCG) {
			reasons = append(reasons, fmt.Sprintf("worse than the plain baseline %s: NDCG@%d %s",
				name, m.table.K, b.NDCG.Signed()))
		}
	}
	g := &modelcard.Gate{Activated: len(reasons) == 0}
	reasons = append(reasons, comparison(m, active, d.NDCG))
	if isWorse(d.NDCG) {
		g.Activated = false
		slices.Reverse(reasons) // the comparison first, because it decides
	}
	g.Reason = strings.Join(reasons, "; ")
	switch {
	case g.Activated:
	case forceReason != "":
		g.Activated, g.Forced = true, true
		g.Reason = fmt.Sprintf("forced (%s): %s", forceReason, g.Reason)
	case m.table.Lists < minGateLists:
		g.Reason += ". Wait for more clicks, or pass --force REASON"
	case m.activeSawHoldout && isWorse(d.NDCG):
		g.Reason += fmt.Sprintf(". Wait for %d lists with clicks since the training of the active "+
			"bundle, or pass --force REASON", minGateLists)
	}
	return g, nil
}

// askServer returns the decision on a bundle with this model. A bundle that the running server
// would refuse is not activated, even if the gate or force says so: the server would go on ranking
// with the present one.
func askServer(
	opt *Options, g *modelcard.Gate, t *training.Trained, encoder *textEncoder,
) *modelcard.Gate {
	if !g.Activated || opt.ServerRefuses == nil {
		return g
	}
	b := &bundle.Bundle{Model: t.Model, Manifest: &bundle.Manifest{}}
	if encoder.vectors != nil {
		b.Manifest.Encoder = encoder.manifest
	}
	err := opt.ServerRefuses(b)
	if err == nil {
		return g
	}
	return &modelcard.Gate{Reason: fmt.Sprintf("%v. Without that: %s", err, g.Reason)}
}

// isWorse reports whether a difference of NDCG is a loss that the gate does not tolerate.
func isWorse(difference stats.Interval) bool {
	return difference.Mean < -maxNDCGLoss || difference.Verdict() == stats.Worse
}

// comparison says how the new bundle compares with the active model, and how far that can be
// trusted.
func comparison(m *measurement, active *activeModel, difference stats.Interval) string {
	finding := "not worse"
	switch {
	case difference.Verdict() == stats.Better:
		finding = "better"
	case isWorse(difference):
		finding = "worse"
	}
	text := fmt.Sprintf("%s than %s: NDCG@%d %s on the newest %s with clicks",
		finding, active.version(), m.table.K, difference.Signed(),
		plural.Count(m.table.Lists, "list"))
	if m.activeSawHoldout {
		text += "; the active bundle was trained on some of these lists, which favours it"
	}
	if active.loadError != nil {
		text += fmt.Sprintf("; the active bundle cannot be loaded for a comparison (%v)",
			active.loadError)
	}
	return text
}
