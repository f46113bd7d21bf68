package evaluate

// gainModel foretells an item's gain at a place: the place's mean gain times how the item does relative to
// the places it stood at, drawn towards 1 where little is known of it.
type gainModel struct {
	place []float64
	item  []float64
}

func (m *gainModel) at(item int32, place int) float64 { return m.place[place] * m.item[item] }

// gainModels are two, each fitted on half of the users.
type gainModels [2]gainModel

// other is the model that has not seen the user: a model that had would repeat his luck.
func (m *gainModels) other(user uint64) *gainModel { return &m[1-user&1] }

// priorGain is how much expected gain an item must have behind it to count as much as the prior.
const priorGain = 2.0

func fitGains(lists []logged, items, places int) *gainModels {
	var out gainModels
	for half := range out {
		m := gainModel{place: make([]float64, places), item: make([]float64, items)}
		shown := make([]float64, places)
		for _, l := range lists {
			if l.user&1 != uint64(half) {
				continue
			}
			for place, c := range l.choices {
				shown[place]++
				m.place[place] += c.gain
			}
		}
		for place := range m.place {
			m.place[place] /= max(1, shown[place])
		}
		expected := make([]float64, items)
		for _, l := range lists {
			if l.user&1 != uint64(half) {
				continue
			}
			for place, c := range l.choices {
				expected[c.shown] += m.place[place]
				m.item[c.shown] += c.gain
			}
		}
		for i := range m.item {
			m.item[i] = (m.item[i] + priorGain) / (expected[i] + priorGain)
		}
		out[half] = m
	}
	return &out
}
