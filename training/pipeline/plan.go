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

// plan says what is trained on what.
type plan struct {
	measured training.Inputs // leaves out the part that is measured on
	again    bool            // and then once more, with nothing left out
	anew     string          // why it is not trained on from the parent, "" where it is or there is none
	// seen reports that the running bundle has learned from a part of the lists that are measured on.
	seen bool
}

// How much is left out to measure on, where nobody says how much.
const (
	measuredShare = 0.1
	measuredLists = 300 // or so many, if that is more: an NDCG's interval is then about .04 wide
	mostMeasured  = 0.3 // but no more than this share
	measuredNew   = 0.2 // of what is new, in a training from a parent
	fewestUnseen  = 50  // lists with clicks that the running bundle has not seen, for a comparison on these alone
)

// errEmpty says that there is nothing to learn from.
var errEmpty = errors.New("the log holds neither impressions nor interactions of a counted action: import some events, or let the service run on")

// plan decides what is left out. Neither the new bundle nor, if enough lists have come since it was trained, the running one
// has learned from what they are compared on.
func (r *run) plan() (*plan, error) {
	f := r.found
	all := f.all.lists()
	if all == 0 {
		return nil, errEmpty
	}
	p := &plan{}
	if r.parent != nil {
		if p.anew = full(r.parent); p.anew != "" {
			r.parent = nil
		}
	}
	share := r.Holdout
	switch {
	case share > 0:
	case r.parent != nil:
		share = measuredNew * float64(f.sinceParent.lists()) / float64(all)
	default:
		p.again = true
		share = min(mostMeasured, max(measuredShare, measuredLists/float64(all)))
	}
	if r.running.bundle != nil {
		unseen := float64(f.sinceRunning.lists()) / float64(all)
		if p.seen = unseen < share; p.seen && r.Holdout == 0 && len(f.sinceRunning.clicked) >= fewestUnseen {
			share, p.seen = unseen, false
		}
	}
	p.measured = r.inputs(share)
	if r.parent != nil {
		var err error
		if p.measured.Parent, err = r.trainOn(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// trainOn is the parent as a training takes it. It has been verified by its load.
func (r *run) trainOn() (*training.Parent, error) {
	version, m := r.parent.Model.Version, r.parent.Manifest
	p := &training.Parent{Features: r.parent.Model.Schema.Features(), LearnedUntil: r.found.parentEnd}
	for _, f := range m.Signals {
		p.SignalKinds = append(p.SignalKinds, f.Kind)
	}
	if d := readReport(filepath.Join(r.Root, version)); d != nil {
		for _, f := range d.Features {
			p.Reasons = append(p.Reasons, training.Reason{Feature: f.Name, Why: f.Reason})
		}
	}
	var err error
	p.Trees, err = os.ReadFile(filepath.Join(r.Root, version, m.Scorer.File))
	return p, err
}

// mostTrees is how many trees a bundle that is trained on may have: each training adds some, and each costs time at every
// request.
const mostTrees = 1000

// full reports why a bundle is not trained on although it could be, "" where it is.
func full(b *bundle.Bundle) string {
	if b.Manifest.Scorer.Kind != bundle.ScorerGBDT {
		return "its blend is no trained one"
	}
	if n := b.Model.Scorer.(*scorer.GBDT).Len(); n > mostTrees {
		return fmt.Sprintf("it has %d trees, more than %d", n, mostTrees)
	}
	return ""
}
