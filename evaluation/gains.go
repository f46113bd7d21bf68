package evaluation

// gainModel foretells an item's gain at a place: the place's mean gain times how the item does relative to
// the places it stood at, drawn towards 1 where little is known of it.
type gainModel struct {
	byPosition []float64
	byItem     []float64
}

func (m *gainModel) predict(item int32, place int) float64 {
	return m.byPosition[place] * m.byItem[item]
}

// crossFittedGains are two, each fitted on half of the users.
type crossFittedGains [2]gainModel

// without is the model that has not seen the user: a model that had would repeat his luck.
func (m *crossFittedGains) without(user uint64) *gainModel { return &m[1-user&1] }

// gainPriorStrength is how much expected gain an item must have behind it to count as much as the prior.
const gainPriorStrength = 2.0

func fitGainModels(lists []loggedList, items, places int) *crossFittedGains {
	var out crossFittedGains
	for half := range out {
		m := gainModel{byPosition: make([]float64, places), byItem: make([]float64, items)}
		shown := make([]float64, places)
		for _, l := range lists {
			if l.user&1 != uint64(half) {
				continue
			}
			for place, c := range l.positions {
				shown[place]++
				m.byPosition[place] += c.gain
			}
		}
		for place := range m.byPosition {
			m.byPosition[place] /= max(1, shown[place])
		}
		expected := make([]float64, items)
		for _, l := range lists {
			if l.user&1 != uint64(half) {
				continue
			}
			for place, c := range l.positions {
				expected[c.shown] += m.byPosition[place]
				m.byItem[c.shown] += c.gain
			}
		}
		for i := range m.byItem {
			m.byItem[i] = (m.byItem[i] + gainPriorStrength) / (expected[i] + gainPriorStrength)
		}
		out[half] = m
	}
	return &out
}
