package redis

import (
	"context"
	"errors"
	"slices"
	"time"

	"relish/features"
	"relish/internal/redisconn"
	"relish/ranker"
)

// errNoState is returned if Redis gives no answer and no candidate has a local copy.
var errNoState = errors.New("redis does not answer, and no candidate has a local copy")

// Read implements [ranker.StateReader]. It waits for Redis at most Options.ReadTimeout, which grows
// with the number of candidates. What Redis does not answer in time comes from local copies, and
// the state is marked as stale. Read fails only if no candidate's state is known at all.
func (s *Store) Read(ctx context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := s.newStateRead(q)
	defer r.release()
	timeout := s.opt.ReadTimeout + s.opt.ReadTimeout*time.Duration(len(r.values))/1000
	deadline, bounded := ctx.Deadline()
	r.fairTimeout = !bounded || time.Until(deadline) >= timeout/2
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out *ranker.RequestState
	var err error
	if s.conn.Up() {
		if out, err = r.extractCurrent(ctx); out == nil && err == nil {
			r.fetch(ctx)
		}
	}
	if out == nil && err == nil {
		out, err = r.extract()
	}
	if err != nil {
		return nil, err
	}
	if out.ItemsRead == 0 && len(q.Candidates) > 0 {
		return nil, errNoState
	}
	if out.Stale = r.stale || s.isBehind(); out.Stale {
		s.stats.stale.Add(1)
	}
	return out, nil
}

// extract computes the result from the copies.
func (r *stateRead) extract() (*ranker.RequestState, error) {
	seq := r.store.applied.value()
	known := r.assemble()
	r.store.mu.RLock()
	out, err := r.store.counters.Read(r.query, &r.state)
	r.store.mu.RUnlock()
	if err == nil {
		out.Seq, out.ItemsRead = seq, known
	}
	return out, err
}

// extractCurrent computes the result if all copies are current. Meanwhile Redis is asked whether
// they still are. It returns nil if they are not.
func (r *stateRead) extractCurrent(ctx context.Context) (*ranker.RequestState, error) {
	s := r.store
	if r.tracked = s.tracking.Connected(); !r.tracked || !r.allCurrent() ||
		len(r.missingHistory()) > 0 {
		return nil, nil
	}
	select {
	case s.readSlots <- struct{}{}:
		defer func() { <-s.readSlots }()
	default: // fetch waits
		return nil, nil
	}
	s.stats.trips.Add(1)
	call := s.tracking.Start(nil)
	r.setAnswered(true)
	out, err := r.extract()
	_, failure := call.Wait(ctx)
	r.report(ctx, failure)
	if err != nil || failure == nil && r.allCurrent() {
		return out, err
	}
	r.setAnswered(false)
	r.state = features.QueryState{Candidates: r.state.Candidates[:0]}
	return nil, nil
}

// fetch asks Redis. The first round trip reads the states that have no current copy, and contents
// that have no copy at all. Another one reads what has changed meanwhile, which is rare. The last
// one reads contents that turned out to be newer than the copy, and the user's history.
//
// If no connection announces changes, no copy is current.
func (r *stateRead) fetch(ctx context.Context) {
	var withoutContent []int
	if r.tracked = r.store.tracking.Connected(); r.tracked {
		withoutContent = r.fetchStates(ctx)
		if r.stale {
			return
		}
		for i := range r.values {
			v := &r.values[i]
			v.answered = v.answered || r.tracked && r.isCurrent(v)
		}
	}
	if slices.ContainsFunc(r.values, func(v valueRead) bool { return !v.answered }) {
		withoutContent = append(withoutContent, r.fetchStates(ctx)...)
	}
	r.fetchMissing(ctx, withoutContent, r.missingHistory())
}

// fetchStates makes one round trip. It reads the states that are not answered and have no current
// copy. It returns the candidates whose contents must still be read.
func (r *stateRead) fetchStates(ctx context.Context) (withoutContent []int) {
	var keys []string
	var asked, withoutCopy []int // withoutCopy: candidates whose content is read with their state
	for i := range r.values {
		v := &r.values[i]
		if v.answered || r.tracked && r.isCurrent(v) {
			continue
		}
		v.stamp = r.store.tracking.Stamp(v.slot)
		asked, keys = append(asked, i), append(keys, r.key(i))
		if i > 0 && (v.copy == nil || v.copy.item == nil) {
			withoutCopy = append(withoutCopy, i-1)
		}
	}
	for _, i := range withoutCopy {
		keys = append(keys, r.store.keys.content(r.query.Candidates[i].ID))
	}
	vals := r.roundTrip(ctx, keys)
	if !r.tracked { // no changes of what was read will be announced
		for _, i := range asked {
			r.values[i].stamp = redisconn.Stamp{}
		}
	}
	contents := make(map[int]string, len(withoutCopy)) // by candidate
	for n, i := range withoutCopy {
		contents[i] = vals[len(asked)+n].Data
	}
	for n, i := range asked {
		if i == 0 {
			r.takeUser(vals[n])
		} else if !r.takeItem(i-1, vals[n], contents[i-1]) {
			withoutContent = append(withoutContent, i-1)
		}
	}
	return withoutContent
}

// roundTrip reads the keys and reports the outcome to the breaker.
func (r *stateRead) roundTrip(ctx context.Context, keys []string) []redisconn.Value {
	select {
	case r.store.readSlots <- struct{}{}:
		defer func() { <-r.store.readSlots }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		r.stale = true
		return redisconn.AllUnread(len(keys))
	}
	r.store.stats.trips.Add(1)
	vals, err := r.ask(ctx, keys)
	r.report(ctx, err)
	return vals
}

// report tells the breaker the outcome of a round trip. It does not report a failure if the caller
// had hardly any time, or was cancelled, or if a connection was lost that another one replaces.
// Such a failure says nothing about Redis.
func (r *stateRead) report(ctx context.Context, err error) {
	if redisconn.Lost(err) {
		return
	}
	if err == nil || r.fairTimeout && !errors.Is(ctx.Err(), context.Canceled) {
		r.store.conn.Report(err)
	}
	r.stale = r.stale || err != nil
}

// ask reads the keys over the connection that announces changes. If that was lost, it reads them
// over another one.
func (r *stateRead) ask(ctx context.Context, keys []string) ([]redisconn.Value, error) {
	if r.tracked {
		vals, err := r.store.tracking.Read(ctx, keys)
		if !redisconn.Lost(err) {
			return vals, err
		}
		if r.tracked = false; len(keys) == 0 {
			return nil, err // no value is answered now
		}
	}
	return r.store.conn.GetMany(ctx, keys)
}
