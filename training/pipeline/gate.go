package pipeline

import (
	"fmt"

	"relish/evaluation"
	"relish/training/modelcard"
)

// maxNDCGLoss is the mean loss of NDCG that the gate tolerates. Two trainings of equal models
// differ by as much.
const maxNDCGLoss = 0.003

// decide is the gate. It activates the new bundle unless the bundle is worse than the active model
// on the held-out lists: by more than maxNDCGLoss on average, or with an interval below zero.
// forceReason, if not empty, activates the bundle in any case.
func decide(m *measurement, active *activeModel, forceReason string) (*modelcard.Gate, error) {
	d, ok := m.table.Difference(newModelName, m.activeName, evaluation.AllLists)
	if !ok {
		return nil, fmt.Errorf("gate: the measurement does not compare %s with %s",
			newModelName, m.activeName)
	}
	g := &modelcard.Gate{Activated: d.NDCG.Mean >= -maxNDCGLoss && d.NDCG.High >= 0}
	finding := "not worse"
	switch {
	case d.NDCG.Low > 0:
		finding = "better"
	case !g.Activated:
		finding = "worse"
	}
	g.Reason = fmt.Sprintf(
		"%s than %s: %s NDCG@%d on the %d newest lists with clicks",
		finding,
		active.version(),
		d.NDCG.Signed(),
		m.table.K,
		m.table.Lists,
	)
	if m.activeSawHoldout {
		g.Reason += "; the active bundle was trained on some of these lists, which favours it"
		if !g.Activated {
			g.Reason += fmt.Sprintf(
				": wait for %d lists with clicks since its training, or pass --force",
				minUnseenLists,
			)
		}
	}
	if active.loadError != nil {
		g.Reason += fmt.Sprintf("; the active bundle cannot be loaded for a comparison (%v)",
			active.loadError)
	}
	if forceReason != "" && !g.Activated {
		g.Activated, g.Forced = true, true
		g.Reason = fmt.Sprintf("forced (%s) although it is %s", forceReason, g.Reason)
	}
	return g, nil
}
