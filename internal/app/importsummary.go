package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/features/event"
	"relish/features/importfile"
	"relish/internal/plural"
	"relish/ranker"
)

// ImportSummary says what an import found and what became of it.
type ImportSummary struct {
	LoadCounts
	Encoded int           `json:"encoded"` // texts
	Files   []FileSummary `json:"files"`
	// Reasons are the reasons of rejected rows, the most frequent first.
	Reasons []RejectReason `json:"reasons"`

	// The rest is about the accepted events and the duplicates.

	Kinds   map[ranker.EventKind]int `json:"kinds"`   // events of each kind
	Actions []ActionCount            `json:"actions"` // the most frequent first
	// Users, Items and UnknownItems are numbers of different users, of different items that users
	// saw or interacted with, and of those among them that nobody has described. Above a million
	// they are estimates. UnknownItems is -1 if it is not known.
	Users        int `json:"users"`
	Items        int `json:"items"`
	UnknownItems int `json:"unknown_items"`
	Described    int `json:"described_items"` // item events
	WithText     int `json:"items_with_text"` // item events with a title or a text
	// First and Last are the earliest and the latest event time in RFC 3339; "" without times.
	First string `json:"first,omitempty"`
	Last  string `json:"last,omitempty"`
	// Warnings are sentences about what is probably not as it should be.
	Warnings []string `json:"warnings"`
}

// FileSummary says how a file was read.
type FileSummary struct {
	File      string            `json:"file"`
	Format    importfile.Format `json:"format"`
	Separator string            `json:"separator,omitempty"`
	Rows      int               `json:"rows"`
	Times     string            `json:"times,omitempty"`
	Unused    []string          `json:"unused_columns,omitempty"`
	Fields    map[string]string `json:"fields,omitempty"`
}

// RejectReason is one reason for which rows were rejected, with an example.
type RejectReason struct {
	Code    string `json:"code"`
	Pointer string `json:"pointer"`
	Rows    int    `json:"rows"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
}

// ActionCount is the number of interactions with an action.
type ActionCount struct {
	Action string `json:"action"`
	Events int    `json:"events"`
	// Counted reports whether the configuration counts the action. The features see no other ones.
	// nil: the configuration is that of a service.
	Counted *bool `json:"counted,omitempty"`
}

// Bounds of what a summary keeps.
const (
	maxReasons = 50
	maxActions = 1000
)

// importTally collects what an ImportSummary says.
type importTally struct {
	files       []FileSummary
	reasons     map[string]*RejectReason
	kinds       map[ranker.EventKind]int
	actions     map[string]int
	users       distinct
	items       distinct
	described   int
	withText    int
	untimed     int // interactions and impressions
	first, last int64
}

func newImportTally() *importTally {
	return &importTally{
		reasons: map[string]*RejectReason{}, kinds: map[ranker.EventKind]int{},
		actions: map[string]int{}, users: newDistinct(), items: newDistinct(),
	}
}

// event counts an event that was stored, now or earlier.
func (t *importTally) event(e *ranker.Event) {
	t.kinds[e.Kind]++
	if e.UserID != "" {
		t.users.add(e.UserID)
	}
	switch e.Kind {
	case ranker.EventInteraction:
		t.items.add(e.ItemID)
		if _, ok := t.actions[e.Action]; ok || len(t.actions) < maxActions {
			t.actions[e.Action]++
		}
	case ranker.EventImpression:
		for _, id := range e.Impression.Items {
			t.items.add(id)
		}
	case ranker.EventItem:
		t.described++
		if e.Title != nil && *e.Title != "" || e.Text != nil && *e.Text != "" {
			t.withText++
		}
	}
	switch {
	case e.Time != 0:
		if t.first == 0 {
			t.first = e.Time
		}
		t.first, t.last = min(t.first, e.Time), max(t.last, e.Time)
	case e.Kind == ranker.EventInteraction, e.Kind == ranker.EventImpression:
		t.untimed++
	}
}

// details matches what differs between messages about the same fault.
var details = regexp.MustCompile(`"[^"]*"|[0-9]+`)

// file adds how a file was read.
func (t *importTally) file(name string, d *importfile.Description) {
	f := FileSummary{
		File: name, Format: d.Format, Rows: d.Rows, Times: d.Times, Unused: d.Unused,
		Fields: d.Fields,
	}
	if d.Separator != 0 {
		f.Separator = string(d.Separator)
	}
	t.files = append(t.files, f)
}

// reject counts a rejected row.
func (t *importTally) reject(file string, line int, e *ranker.EventError) {
	key := e.Code + " " + details.ReplaceAllString(e.Pointer+" "+e.Message, "")
	r, ok := t.reasons[key]
	if !ok && len(t.reasons) >= maxReasons {
		return
	}
	if !ok {
		r = &RejectReason{
			Code: e.Code, Pointer: e.Pointer, File: file, Line: line, Message: e.Message,
		}
		t.reasons[key] = r
	}
	r.Rows++
}

// summary returns the summary. counted are the actions that the configuration counts. store has the
// described items; it may be nil.
func (t *importTally) summary(
	ctx context.Context, counts LoadCounts, counted []string, store Store,
) (*ImportSummary, error) {
	s := &ImportSummary{
		LoadCounts: counts, Files: t.files, Kinds: t.kinds,
		Users: t.users.count(), Items: t.items.count(), UnknownItems: -1,
		Described: t.described, WithText: t.withText,
		Reasons: []RejectReason{}, Actions: []ActionCount{},
	}
	for _, r := range t.reasons {
		s.Reasons = append(s.Reasons, *r)
	}
	slices.SortFunc(s.Reasons, func(a, b RejectReason) int {
		return cmp.Or(b.Rows-a.Rows, cmp.Compare(a.File, b.File), a.Line-b.Line)
	})
	for _, action := range slices.Sorted(maps.Keys(t.actions)) {
		count := ActionCount{Action: action, Events: t.actions[action]}
		if counted != nil {
			is := slices.Contains(counted, action)
			count.Counted = &is
		}
		s.Actions = append(s.Actions, count)
	}
	slices.SortStableFunc(s.Actions, func(a, b ActionCount) int { return b.Events - a.Events })
	if t.last != 0 {
		s.First, s.Last = event.FormatTime(t.first), event.FormatTime(t.last)
	}
	if store != nil && s.Items > 0 {
		for item, err := range store.Items(ctx) {
			if err != nil {
				return s, err
			}
			t.items.remove(item.ID)
		}
		s.UnknownItems = t.items.count()
	}
	s.warn(t)
	return s, nil
}

// maxShare is the share of rejected rows, and of unknown items, above which an import warns.
const maxShare = 0.01

// warn fills in the warnings.
func (s *ImportSummary) warn(t *importTally) {
	s.Warnings = []string{}
	add := func(format string, args ...any) {
		s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
	}
	total := 0 // also the rows that an import did not come to
	for i := range s.Files {
		total += s.Files[i].Rows
	}
	if float64(s.Rejected) > maxShare*float64(total) {
		add("%d of %d rows (%s) were rejected; see the reasons", s.Rejected, total,
			percent(s.Rejected, total))
	}
	for _, a := range s.Actions {
		if a.Counted != nil && !*a.Counted {
			add("action %q: no feature counts it (%s stored). Add it to state.actions in "+
				"relish.yaml, or import into a new data folder with --actions %s=NAME", a.Action,
				plural.Count(a.Events, "event"), a.Action)
		}
	}
	if t.untimed > 0 {
		add("events without a time: %d. They get the time of the import, so nothing can be "+
			"learned from their order or age", t.untimed)
	}
	if float64(s.UnknownItems) > maxShare*float64(s.Items) {
		add("%d of %d items (%s) that users saw or interacted with are not described: their texts "+
			"and fields are unknown. Import the catalogue, with --kind items if it is a table",
			s.UnknownItems, s.Items, percent(s.UnknownItems, s.Items))
	}
}

// percent returns a share of more than maxShare as a percentage for people.
func percent(n, total int) string {
	if n == total {
		return "all"
	}
	return fmt.Sprintf("%.0f %%", min(100*float64(n)/float64(total), 99))
}

// ---- Distinct names ----

// distinct counts different names. It keeps the hashes of at most maxDistinct of them: above that
// it keeps those hashes that end in ever more zeros, so that the count becomes an estimate.
type distinct struct {
	hashes map[uint64]struct{}
	zeros  int
}

const maxDistinct = 1 << 20

func newDistinct() distinct { return distinct{hashes: map[uint64]struct{}{}} }

func (d *distinct) add(name string) {
	h := xxhash.Sum64String(name)
	if h&(1<<d.zeros-1) != 0 {
		return
	}
	d.hashes[h] = struct{}{}
	for len(d.hashes) > maxDistinct {
		d.zeros++
		maps.DeleteFunc(d.hashes, func(h uint64, _ struct{}) bool { return h&(1<<d.zeros-1) != 0 })
	}
}

func (d *distinct) remove(name string) { delete(d.hashes, xxhash.Sum64String(name)) }

func (d *distinct) count() int { return len(d.hashes) << d.zeros }
