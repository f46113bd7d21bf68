package pipeline

import (
	"fmt"

	"relish/evaluation"
	"relish/training/modelcard"
)

// maxNDCGLoss is how much worse, in NDCG, the mean may be: equal models differ by as much from one training to the next.
const maxNDCGLoss = 0.003

// decide is the gate: the new bundle is activated unless it is worse than the running one on the lists that were left
// out, in the mean by more than noise, or for certain.
func (r *run) decide(s *results) (*modelcard.Gate, error) {
	d, ok := s.table.Difference(thisBundle, s.running, evaluation.AllLists)
	if !ok {
		return nil, fmt.Errorf("gate: %s was not compared with %s", thisBundle, s.running)
	}
	g := &modelcard.Gate{Activated: d.NDCG.Mean >= -maxNDCGLoss && d.NDCG.High >= 0}
	word := "not worse"
	switch {
	case d.NDCG.Low > 0:
		word = "better"
	case !g.Activated:
		word = "worse"
	}
	g.Reason = fmt.Sprintf("%s than %s: %+.3f NDCG@%d [%+.3f, %+.3f] on the %d newest lists with clicks", word, r.version(), d.NDCG.Mean, s.table.K,
		d.NDCG.Low, d.NDCG.High, s.table.Lists)
	if s.seen {
		g.Reason += ", some of which the running bundle had learned from, which flatters it"
		if !g.Activated {
			g.Reason += fmt.Sprintf(": wait for %d lists with clicks since it was trained, or force it", fewestUnseen)
		}
	}
	if r.running.unknown != nil {
		g.Reason += fmt.Sprintf("; the active bundle could not be compared with (%v)", r.running.unknown)
	}
	if r.ForceReason != "" && !g.Activated {
		g.Activated, g.Forced = true, true
		g.Reason = fmt.Sprintf("forced (%s) although it is %s", r.ForceReason, g.Reason)
	}
	return g, nil
}
