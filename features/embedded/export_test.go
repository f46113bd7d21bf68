package embedded

// Save writes a checkpoint now.
func (s *Store) Save() error { return s.save() }

// KeepRequested reports whether the next checkpoint becomes a base.
func (s *Store) KeepRequested() bool {
	s.baseMu.Lock()
	defer s.baseMu.Unlock()
	return s.keep.pending
}
