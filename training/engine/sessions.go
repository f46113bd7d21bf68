package engine

import (
	"fmt"
	"slices"
	"sync"

	"relish/embeddings/onnx"
)

// sessions keeps a bounded number of executables loaded. Each has memory and threads of its own outside
// Go's heap. It is safe for concurrent use.
type sessions struct {
	rt             *onnx.Runtime
	threads, limit int

	mu     sync.Mutex
	loaded []*session // used last first
	closed bool
}

// session is a loaded executable. Its fields but program are guarded by sessions.mu.
type session struct {
	executable *Executable
	graph      *onnx.Graph
	users      int
	unloaded   bool // to be closed when the last user is done
}

// acquire gives the executable's session, loading it if need be. The caller releases it.
func (s *sessions) acquire(e *Executable) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("the backend is finalized")
	}
	i := slices.IndexFunc(s.loaded, func(l *session) bool { return l.executable == e })
	var found *session
	if i >= 0 {
		found = s.loaded[i]
		s.loaded = slices.Delete(s.loaded, i, i+1)
	} else {
		s.evict(s.limit - 1)
		program, err := s.rt.LoadGraph(e.model, onnx.GraphOptions{Inputs: e.inputNames, Outputs: e.outputNames, Threads: s.threads})
		if err != nil {
			return nil, err
		}
		found = &session{executable: e, graph: program}
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

// evict closes the sessions that were unused for longest until n are left, sparing those in use.
func (s *sessions) evict(n int) {
	for i := len(s.loaded) - 1; i >= 0 && len(s.loaded) > n; i-- {
		if l := s.loaded[i]; l.users == 0 {
			l.graph.Close()
			s.loaded = slices.Delete(s.loaded, i, i+1)
		}
	}
}

// unload unloads the executable.
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

// Loaded is how many graphs are loaded now: at most Options.MaxSessions, or those in use if they are more.
func (b *Backend) Loaded() int {
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	return len(b.sessions.loaded)
}
