package eventsort

import "iter"

// merger merges sorted sequences of entries. There are few of them, so it compares all next
// entries.
type merger struct{ sources []*source }

// source is a sequence with its next entry.
type source struct {
	entry
	err  error
	next func() (entry, error, bool)
	stop func()
}

func (s *source) advance() (ok bool) {
	s.entry, s.err, ok = s.next()
	return ok
}

// add adds a sequence.
func (m *merger) add(entries iter.Seq2[entry, error]) {
	s := &source{}
	s.next, s.stop = iter.Pull2(entries)
	if s.advance() {
		m.sources = append(m.sources, s)
	} else {
		s.stop()
	}
}

// each yields the entries of all sequences in order, up to the first error.
func (m *merger) each(yield func(entry, error) bool) {
	for len(m.sources) > 0 {
		first := 0
		for i, s := range m.sources {
			if s.err != nil || s.order.Compare(m.sources[first].order) < 0 {
				first = i
			}
			if s.err != nil {
				break
			}
		}
		s := m.sources[first]
		if !yield(s.entry, s.err) || s.err != nil {
			return
		}
		if !s.advance() {
			s.stop()
			m.sources = append(m.sources[:first], m.sources[first+1:]...)
		}
	}
}

// stop ends the sequences that are not read to their ends.
func (m *merger) stop() {
	for _, s := range m.sources {
		s.stop()
	}
}
