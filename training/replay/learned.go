package replay

import (
	"relish/features/event"
	"relish/ranker/bundle"
)

// HasLearned reports whether a bundle with this training data was trained on a record, which has
// the sequence of its own log.
func HasLearned(d *bundle.TrainingData, rec *event.Record) bool {
	if cut := d.HeldOutFrom; cut != nil && event.OrderOf(rec).Compare(event.Order(*cut)) >= 0 {
		return false
	}
	for i := range d.Logs {
		if r := &d.Logs[i]; r.Replica == rec.Replica {
			return rec.Seq <= r.Last.Seq
		}
	}
	return false
}

// UnseenFrom returns the number after the last record that a bundle with this training data was
// trained on, 1 if it was trained on none. From there on, everything is new to the bundle.
func (t *Timeline) UnseenFrom(d *bundle.TrainingData) (number uint64, err error) {
	number = 1
	err = t.Each(func(rec *event.Record, n uint64) bool {
		if HasLearned(d, rec) {
			number = n + 1
		}
		return true
	})
	return number, err
}
