package scorer

import "relish/ranker"

// SingleModel returns a ranker.Models that has one model. It is the active one and has no fallback.
func SingleModel(m *ranker.Model) ranker.Models { return singleModel{m} }

type singleModel struct{ model *ranker.Model }

// Acquire implements ranker.Models. The model's owner keeps it open, so no user is counted.
func (s singleModel) Acquire(version string) (*ranker.Model, error) {
	if version != "" && version != s.model.Version {
		return nil, ranker.ErrUnknownModel
	}
	return s.model, nil
}

// Fallbacks implements ranker.Models.
func (singleModel) Fallbacks(string) []string { return nil }
