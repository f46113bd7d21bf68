package embeddings

import (
	"errors"
	"fmt"

	"relish/embeddings/vectortable"
)

// ImportFrom makes the vectors of this encoder available that the vector table in another folder
// has, such as a bundle's. It returns how many they are, without those that a written table had
// already. A folder without a table of this encoder has none.
//
// A service that writes its table copies them into it. Any other service reads them in place, so
// the file must stay until Close.
func (s *Service) ImportFrom(dir string) (imported int, err error) {
	other, err := vectortable.Open(dir, s.Digest(), s.Dim(),
		vectortable.Options{ReadOnly: true, Log: s.log})
	if err != nil {
		return 0, err
	}
	rows := other.Stats().Rows
	switch {
	case rows == 0:
		return 0, other.Close()
	case s.writable:
		imported, err = s.copyFrom(other)
		return imported, errors.Join(err, other.Close())
	case !s.alsoReadFrom(other):
		return 0, errors.Join(ErrClosed, other.Close())
	}
	return rows, nil
}

// copyFrom copies the vectors of another table into the table.
func (s *Service) copyFrom(other *vectortable.Table) (copied int, err error) {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	if s.closed {
		return 0, ErrClosed
	}
	if copied, err = s.table.CopyFrom(other); err != nil {
		return copied, fmt.Errorf("import vectors: %w", err)
	}
	return copied, nil
}

// alsoReadFrom has lookups read another table, which the service closes. It returns false if the
// service is closed.
func (s *Service) alsoReadFrom(other *vectortable.Table) bool {
	s.closeLock.Lock()
	defer s.closeLock.Unlock()
	if s.closed {
		return false
	}
	s.tables = append(s.tables, other)
	return true
}
