package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"

	"relish/api"
	"relish/features/embedded"
	"relish/ranker"
)

// encoder encodes a text as the shares of its letters, so that similar texts have similar vectors
// and no model has to be loaded. It fails with err if err is set.
type encoder struct{ err error }

func (e encoder) Texts(ctx context.Context, texts []string) ([][]float32, error) {
	vectors := make([][]float32, len(texts))
	for i, t := range texts {
		vectors[i] = letters(t)
	}
	return vectors, errors.Join(e.err, ctx.Err())
}

func letters(text string) []float32 {
	if !ranker.IsVisible(text) {
		return nil
	}
	v := make([]float32, 26)
	sum := float32(0)
	for _, r := range strings.ToLower(text) {
		if r >= 'a' && r <= 'z' {
			v[r-'a']++
			sum++
		}
	}
	for i := range v {
		v[i] /= max(sum, 1)
	}
	return v
}

// events passes events to the store and keeps them, or fails with err if err is set.
type events struct {
	*embedded.Store
	err   error
	taken []ranker.Event
}

func (e *events) Append(ctx context.Context, list []ranker.Event) ([]ranker.EventOutcome, error) {
	if e.err != nil {
		return nil, e.err
	}
	e.taken = append(e.taken, list...)
	return e.Store.Append(ctx, list)
}

// models records the calls, and fails with err if err is set.
type models struct {
	list   []ranker.ModelStatus // listed after the prior
	err    error
	calls  []string
	report string // what a report begins with
}

func (m *models) List() ([]ranker.ModelStatus, error) {
	prior := ranker.ModelStatus{Version: "prior", State: ranker.ModelActive}
	return append([]ranker.ModelStatus{prior}, m.list...), m.err
}

func (m *models) Activate(_ context.Context, version, by, why string) error {
	m.calls = append(m.calls, "activate "+version+" by "+by)
	return m.err
}

func (m *models) Rollback(_ context.Context, by, why string) (string, error) {
	m.calls = append(m.calls, "rollback by "+by)
	return "before", m.err
}

func (m *models) Report(version string) ([]byte, error) { return []byte(m.report + version), m.err }

// rankFunc is a ranker that a test writes itself.
type rankFunc func(context.Context, *ranker.Request) (*ranker.Response, error)

func (f rankFunc) Rank(ctx context.Context, r *ranker.Request) (*ranker.Response, error) {
	return f(ctx, r)
}

// lockedBuffer holds a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// key returns an API key with the scopes.
func key(name, secret string, scopes ...string) api.Key {
	return api.Key{Name: name, SHA256: sha256.Sum256([]byte(secret)), Scopes: scopes}
}
