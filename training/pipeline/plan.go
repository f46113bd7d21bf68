package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/training"
)

// plan says what is trained and measured on which part of the logs.
type plan struct {
	bundles *bundles
	scan    *scan
	// parent is the bundle of a warm start, nil for a full training. warmStart is the parent in the
	// form that package training takes.
	parent    *bundle.Bundle
	warmStart *training.Parent
	// noWarmStart says why a full training replaces the requested warm start, "" if it does not.
	noWarmStart string
	holdout     float64 // share of the newest lists that the new model is measured on
	retrain     bool    // after measuring, train the bundle on all lists
}

// The held-out share, unless --holdout sets it.
const (
	holdoutLists    = 300 // at least that many lists: the interval of an NDCG is then about ±0.04
	holdoutShare    = 0.1 // but no less than this share, and no more than maxHoldoutShare
	maxHoldoutShare = 0.3
	// newHoldoutShare and maxNewHoldoutShare are the same for the new lists of a warm start.
	newHoldoutShare    = 0.2
	maxNewHoldoutShare = 0.5
)

// shareFor returns the share that gives about holdoutLists out of measurable lists.
func shareFor(measurable, lowest, highest float64) float64 {
	return min(highest, max(lowest, holdoutLists/measurable))
}

var errEmptyLog = errors.New(
	"nothing to train on: the log has no impressions, and no interactions with a counted " +
		"action that belong to none; import events, or let the service collect some",
)

// newPlan decides between a full training and a warm start, and what is held out. The new model is
// not trained on the held-out lists. Neither is the active bundle, if there are enough lists for
// the gate that it has not seen.
func newPlan(opt *Options, b *bundles, s *scan) (*plan, error) {
	sampled := s.log.NeedsSampledLists()
	total := s.all.lists(sampled)
	if total == 0 {
		return nil, errEmptyLog
	}
	p := &plan{bundles: b, scan: s, parent: b.parent}
	if p.parent != nil {
		if p.noWarmStart = cannotExtend(p.parent); p.noWarmStart != "" {
			p.parent = nil
		}
	}
	p.holdout = opt.Holdout
	switch {
	case p.holdout > 0:
	case p.parent != nil:
		since := &s.sinceParent
		share := shareFor(since.measurable(sampled), newHoldoutShare, maxNewHoldoutShare)
		p.holdout = share * since.lists(sampled) / total
	default:
		p.retrain = true
		p.holdout = shareFor(s.all.measurable(sampled), holdoutShare, maxHoldoutShare)
	}
	if b.active.bundle != nil && opt.Holdout == 0 {
		unseen := &s.sinceActive
		share := (unseen.lists(sampled) - 0.5) / total // half a list less, against rounding errors
		if unseen.measurable(sampled) >= minGateLists && share < p.holdout {
			p.holdout = share
		}
	}
	if p.parent != nil {
		var err error
		if p.warmStart, err = newWarmStart(opt, p.parent, s.sinceParent.from); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// newWarmStart reads what a warm start needs of its parent. The bundle's load has verified it.
func newWarmStart(opt *Options, parent *bundle.Bundle, parentEnd uint64) (*training.Parent, error) {
	dir := filepath.Join(opt.Root, parent.Model.Version)
	out := &training.Parent{Features: parent.Model.Schema.Features(), LearnedUntil: parentEnd}
	for _, f := range parent.Manifest.Signals {
		out.SignalKinds = append(out.SignalKinds, f.Kind)
	}
	if card := readCard(dir); card != nil {
		for _, f := range card.Features {
			out.Reasons = append(out.Reasons, training.Reason{Feature: f.Name, Why: f.Reason})
		}
	}
	var err error
	out.Trees, err = os.ReadFile(filepath.Join(dir, parent.Manifest.Scorer.File))
	return out, err
}

// maxParentTrees bounds the trees of a warm start's parent. Each warm start adds trees, and each
// tree costs time at every request.
const maxParentTrees = 1000

// cannotExtend returns why no trees can be added to a bundle, "" if they can.
func cannotExtend(b *bundle.Bundle) string {
	if b.Manifest.Scorer.Kind != bundle.ScorerGBDT {
		return "its scorer has no trees"
	}
	if n := b.Model.Scorer.(*scorer.GBDT).Len(); n > maxParentTrees {
		return fmt.Sprintf("it has %d trees, more than %d", n, maxParentTrees)
	}
	return ""
}
