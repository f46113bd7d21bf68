package bundle

import (
	"slices"
	"sync"
	"time"
)

const (
	// maxRefusals is how many refusals are remembered.
	maxRefusals = 100

	// refusalRetry is how long a refused bundle is not tried again, unless somebody asks for it.
	refusalRetry = 5 * time.Minute
)

// refusals remembers which bundles were refused and why. The zero value is ready to use. It is safe
// for concurrent use.
type refusals struct {
	mu   sync.Mutex
	list []refusal // oldest first
}

type refusal struct {
	version string
	at      time.Time
	err     error
}

func (r *refusals) add(version string, err error) {
	r.remove(version)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, refusal{version, time.Now(), err})
	r.list = r.list[max(0, len(r.list)-maxRefusals):]
}

func (r *refusals) remove(version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.DeleteFunc(r.list, func(x refusal) bool { return x.version == version })
}

// recent returns why a version was refused within refusalRetry, nil if it was not.
func (r *refusals) recent(version string) error {
	if x := r.find(version); x != nil && time.Since(x.at) < refusalRetry {
		return x.err
	}
	return nil
}

// reason returns why a version was refused, "" if it was not.
func (r *refusals) reason(version string) string {
	if x := r.find(version); x != nil {
		return x.err.Error()
	}
	return ""
}

func (r *refusals) find(version string) *refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.list {
		if x.version == version {
			return &x
		}
	}
	return nil
}
