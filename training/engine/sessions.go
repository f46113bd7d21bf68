package engine

import (
	"errors"
	"slices"
	"sync"

	"relish/embeddings/onnx"
)

// sessions holds a limited number of loaded executables. Each has its own memory and threads
// outside of Go's heap. It is safe for concurrent use.
type sessions struct {
	rt             *onnx.Runtime
	threads, limit int

	mu     sync.Mutex
	loaded []*session // most recently used first
	closed bool
}

// session is one loaded executable. sessions.mu guards all fields except graph.
type session struct {
	executable *Executable
	graph      *onnx.Graph
	users      int
	unloaded   bool // close it when the last user releases it
}

// acquire returns the executable's session and loads it if necessary. The caller must release it.
func (s *sessions) acquire(e *Executable) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the backend is finalized")
	}
	i := slices.IndexFunc(s.loaded, func(l *session) bool { return l.executable == e })
	var found *session
	if i >= 0 {
		found = s.loaded[i]
		s.loaded = slices.Delete(s.loaded, i, i+1)
	} else {
		s.evict(s.limit - 1)
		graph, err := s.rt.LoadGraph(e.model,
			onnx.GraphOptions{Inputs: e.inputNames, Outputs: e.outputNames, Threads: s.threads})
		if err != nil {
			return nil, err
		}
		found = &session{executable: e, graph: graph}
	}
	s.loaded = slices.Insert(s.loaded, 0, found)
	found.users++
	return found, nil
}

func (s *sessions) release(l *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.users--
	if l.unloaded && l.users == 0 {
		l.graph.Close()
	}
	s.evict(s.limit)
}

// evict closes the least recently used sessions until n are left. Sessions in use stay.
func (s *sessions) evict(n int) {
	for i := len(s.loaded) - 1; i >= 0 && len(s.loaded) > n; i-- {
		if l := s.loaded[i]; l.users == 0 {
			l.graph.Close()
			s.loaded = slices.Delete(s.loaded, i, i+1)
		}
	}
}

// unload removes the executable's session. A session in use is closed when its last user releases
// it.
func (s *sessions) unload(e *Executable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = slices.DeleteFunc(s.loaded, func(l *session) bool {
		if l.executable != e {
			return false
		}
		if l.unloaded = true; l.users == 0 {
			l.graph.Close()
		}
		return true
	})
}

func (s *sessions) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, l := range s.loaded {
		l.graph.Close()
	}
	s.loaded = nil
}

// Loaded returns the number of loaded graphs: at most Options.MaxSessions, unless more are in use.
func (b *Backend) Loaded() int {
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	return len(b.sessions.loaded)
}
