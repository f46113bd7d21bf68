package replay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"relish/features"
	"relish/features/embedded"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/ranker"
	"relish/ranker/scorer"
	"relish/training/replay"
)

const (
	liveItems = 30
	liveUsers = 8
)

// live is a running server with its own clock.
type live struct {
	testing.TB
	r      *rand.Rand
	dir    string
	store  *embedded.Store
	p      *ranker.Pipeline
	model  *ranker.Model
	now    time.Time
	events int
	tables map[string]*features.ExternalTable // by name and digest
	used   map[string]*features.ExternalTable // by name
	ranked []string
	// another is a model with another schema, which ranks nothing. rows has the rows that it would
	// have scored, by request and candidate.
	erases       bool  // a user is erased
	segmentBytes int64 // of the log, which then keeps about three segments; 0: it keeps everything
	another      *ranker.Model
	rows         map[string]map[string][]float32
}

func newLive(t testing.TB, seed uint64) *live { return newLiveWith(t, seed, 0) }

// newLiveWith is newLive with a retention, see live.segmentBytes.
func newLiveWith(t testing.TB, seed uint64, segmentBytes int64) *live {
	l := &live{
		segmentBytes: segmentBytes,

		TB:     t,
		r:      rand.New(rand.NewPCG(seed, 5)),
		dir:    t.TempDir(),
		now:    time.UnixMilli(1_700_000_000_000),
		tables: map[string]*features.ExternalTable{},
		used:   map[string]*features.ExternalTable{},
	}
	trained := learned(t, rand.New(rand.NewPCG(99, 5))) // the same for every seed
	l.model = &ranker.Model{
		Version: "m",
		Schema:  newSchema(t, trained),
		Signals: trained,
		Scorer:  total{},
	}
	features := slices.Clone(l.model.Schema.Features())
	slices.Reverse(features)
	schema, err := ranker.NewSchema(features[:len(features)-5])
	if err != nil {
		t.Fatal(err)
	}
	l.another = &ranker.Model{Version: "another", Schema: schema, Signals: trained, Scorer: total{}}
	l.rows = map[string]map[string][]float32{}
	l.open()
	return l
}

func (l *live) clock() time.Time { return l.now }

// later is the log's clock: a record arrives a little after its event.
func (l *live) later() time.Time { return l.now.Add(700 * time.Millisecond) }

func (l *live) open() {
	l.Helper()
	var err error
	opt := embedded.Options{Ingest: ingest.Options{
		Clock: l.later, SegmentBytes: l.segmentBytes, RetainBytes: 3 * l.segmentBytes,
	}}
	if l.store, err = embedded.Open(l.dir, counted(), opt); err != nil {
		l.Fatal(err)
	}
	for name, c := range l.used {
		l.store.UseTable(name, c)
	}
	l.p, err = ranker.New(
		ranker.Options{
			Features: l.store,
			Vectors:  vectors{},
			Models:   scorer.SingleModel(l.model),
			Recorder: l.store,
			Clock:    l.clock,

			Experiments: arms{l.model.Version},
			LogFeatures: 0.3,
		},
	)
	if err != nil {
		l.Fatal(err)
	}
}

func (l *live) shutDown() {
	l.Helper()
	if err := l.store.Close(); err != nil {
		l.Fatal(err)
	}
}

// appendEvents makes events durable. Some have event times far in the past or minutes ahead.
func (l *live) appendEvents(events ...ranker.Event) {
	l.Helper()
	for i := range events {
		l.events++
		if events[i].ID == "" {
			events[i].ID = fmt.Sprint("e", l.events)
		}
		if l.r.IntN(6) == 0 {
			events[i].Time = l.now.UnixMilli() + l.r.Int64N(30*hour) - 20*hour
			events[i].Time = min(events[i].Time, l.now.UnixMilli()+event.MaxAhead.Milliseconds())
		}
	}
	out, err := l.store.Append(l.Context(), events)
	if err != nil {
		l.Fatal(err)
	}
	for i, o := range out {
		if o.Err != nil {
			l.Fatalf("%+v: %v", events[i], o.Err)
		}
	}
}

// addRandomEvents appends a few random events.
func (l *live) addRandomEvents() {
	l.Helper()
	var events []ranker.Event
	for range 1 + l.r.IntN(8) {
		e := ranker.Event{
			Kind:   ranker.EventInteraction,
			UserID: userID(l.r),
			ItemID: itemID(l.r),
			Action: []string{"view", "click", "click", "purchase", "like"}[l.r.IntN(5)],
		}
		switch l.r.IntN(12) {
		case 0, 1, 2:
			e = described(l.r, itemID(l.r))
		case 3:
			e = ranker.Event{
				Kind:   ranker.EventUser,
				UserID: userID(l.r),
				Fields: map[string]ranker.FieldValue{
					"age": ranker.NumberValue(float64(l.r.IntN(80))),
				},
			}
		case 4: // a list that a client reports
			e = ranker.Event{Kind: ranker.EventImpression, UserID: userID(l.r),
				Impression: &ranker.Impression{
					Items: []string{itemID(l.r), itemID(l.r), itemID(l.r)},
				}}
		case 5:
			e = ranker.Event{Kind: ranker.EventDelete, ItemID: itemID(l.r)}
		case 6:
			if l.r.IntN(8) == 0 {
				e = ranker.Event{Kind: ranker.EventErase, UserHash: features.UserHash(userID(l.r))}
			}
		default:
			if len(l.ranked) > 0 && l.r.IntN(2) == 0 {
				e.ImpressionID = l.ranked[max(0, len(l.ranked)-1-l.r.IntN(4))]
			}
		}
		if e.Kind != ranker.EventDelete && e.Kind != ranker.EventErase && l.r.IntN(8) == 0 {
			e.Imported, e.Time = true, l.now.UnixMilli()-l.r.Int64N(900)*hour
		}
		events = append(events, e)
	}
	l.appendEvents(events...)
	if l.r.IntN(10) == 0 {
		l.importTable()
	}
}

func (l *live) importTable() {
	l.Helper()
	name, key, ids := "ofitems", features.KeyItem, []string(nil)
	for range 5 {
		ids = append(ids, itemID(l.r))
	}
	if l.r.IntN(2) == 0 {
		name, key, ids = "ofusers", features.KeyUser, []string{
			features.UserHash("u0"),
			features.UserHash("u1"),
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	values := make([]float32, len(ids))
	for i := range values {
		values[i] = l.r.Float32()
	}
	c, err := features.NewExternalTable(key, ids, []string{"score"}, [][]float32{values})
	if err != nil {
		l.Fatal(err)
	}
	digest := fmt.Sprintf("%064x", l.r.Uint64())
	l.appendEvents(ranker.Event{Kind: ranker.EventTable, Table: name, Digest: digest})
	l.tables[name+digest], l.used[name] = c, c
	l.store.UseTable(name, c)
}

// run appends events and ranks lists. It restarts the server once.
func (l *live) run(lists int) {
	l.Helper()
	for i := range liveItems / 2 {
		l.appendEvents(described(l.r, fmt.Sprint("i", i)))
	}
	for i := range lists {
		l.now = l.now.Add(time.Duration(l.r.IntN(3000)) * time.Millisecond)
		if l.r.IntN(20) == 0 {
			l.now = l.now.Add(time.Duration(l.r.IntN(400)) * time.Hour)
		}
		l.addRandomEvents()
		l.rank()
		if i == lists/2 {
			l.shutDown()
			l.open()
		}
		if l.erases && i == lists/3 {
			l.eraseUser("u0")
		}
	}
	l.shutDown()
}

// eraseUser erases a user, and removes what they did from the log.
func (l *live) eraseUser(id string) {
	l.Helper()
	err := errors.Join(l.store.EraseUser(l.Context(), id), l.store.EraseNow(l.Context()))
	if err != nil {
		l.Fatal(err)
	}
}

// records returns the server's log.
func (l *live) records() (out []event.Record) {
	l.Helper()
	for rec, err := range eventlog.Read(ingest.LogDir(l.dir), 1) {
		if err != nil {
			l.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

// base returns what the log adds to, nil if it has everything.
func (l *live) base() *replay.Base {
	l.Helper()
	bases, err := embedded.Bases(l.dir)
	if err != nil {
		l.Fatal(err)
	}
	var first *replay.Base
	for _, b := range slices.Backward(bases) {
		load := func() (*features.State, error) { return b.Load(counted()) }
		first = &replay.Base{Seq: b.Seq, Load: load, Later: first}
	}
	return first
}

// replayedList is the replay of one recorded list.
type replayedList struct {
	impression *ranker.Impression
	stateSeq   uint64
	hash       uint64
	matrix     *ranker.Matrix
}

// replayed returns the replay of all lists before a sequence.
func (l *live) replayed(records []event.Record, to uint64) map[uint64]replayedList {
	l.Helper()
	return l.replayedBy(l.model, records, to)
}

// replayedBy is replayed with the matrices of another model.
func (l *live) replayedBy(
	model *ranker.Model, records []event.Record, to uint64,
) map[uint64]replayedList {
	l.Helper()
	log, err := replay.Scan(l.Context(), source(records), replay.Options{
		State: counted(), Base: l.base(),
	})
	if err != nil {
		l.Fatal(err)
	}
	var lists []replay.RankingList
	for _, x := range log.Lists {
		if x.Seq < to {
			lists = append(
				lists,
				replay.RankingList{
					Seq:    x.Seq,
					User:   x.User,
					Items:  x.Items,
					Gains:  x.Gains,
					Logged: true,
				},
			)
		}
	}
	state := features.New(counted())
	state.OpenTable = func(name, digest string) *features.ExternalTable {
		return l.tables[name+digest]
	}
	p, err := ranker.New(
		ranker.Options{
			Features: reading{state},
			Vectors:  vectors{},
			Models:   scorer.SingleModel(l.model),
		},
	)
	if err != nil {
		l.Fatal(err)
	}
	out := map[uint64]replayedList{}
	err = log.Walk(
		l.Context(),
		source(records),
		state,
		lists,
		replay.WalkOptions{},
		func(c *replay.Example) error {
			c.Request.Deadline = time.Minute
			m, _, err := p.Matrix(l.Context(), model, c.Request)
			if err == nil {
				out[c.Seq] = replayedList{
					c.Impression,
					state.Seq(),
					m.Hash(c.Request.Candidates),
					m,
				}
			}
			return err
		},
	)
	if err != nil {
		l.Fatal(err)
	}
	return out
}

// reading implements ranker.StateReader on a state.
type reading struct{ state *features.State }

func (r reading) Read(_ context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	return r.state.Read(q)
}
