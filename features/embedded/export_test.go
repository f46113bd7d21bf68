package embedded

// Save writes a checkpoint now.
func (s *Store) Save() error { return s.save() }
