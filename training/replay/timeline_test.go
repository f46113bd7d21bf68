package replay_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/training/replay"
)

// importDay is when the events of these tests are imported. Their event times lie before it.
const importDay = int64(1_777_629_600_000)

// history returns what happened over two years: items that appear over time, lists and clicks.
// Some items and all users have no time.
func history() (events []ranker.Event) {
	rng := rand.New(rand.NewPCG(3, 3))
	begin := importDay - 730*24*hour
	add := func(e ranker.Event) {
		e.Imported, e.ID = true, fmt.Sprint("h", len(events))
		events = append(events, e)
	}
	for i := range 40 {
		title := fmt.Sprint("item ", i)
		e := ranker.Event{Kind: ranker.EventItem, ItemID: fmt.Sprint("i", i), Title: &title}
		if i%2 == 0 {
			e.Time = begin + int64(i)*24*hour
		}
		add(e)
	}
	add(ranker.Event{
		Kind: ranker.EventUser, UserID: "u1",
		Fields: map[string]ranker.FieldValue{"age": ranker.NumberValue(30)},
	})
	for d := range int64(700) {
		at, user := begin+(40+d/2)*24*hour, fmt.Sprint("u", rng.IntN(5))
		items := []string{fmt.Sprint("i", rng.IntN(20)), fmt.Sprint("i", 20+rng.IntN(20))}
		list := fmt.Sprint("h", len(events))
		add(ranker.Event{
			Kind: ranker.EventImpression, UserID: user, Time: at,
			Impression: &ranker.Impression{Items: items},
		})
		add(ranker.Event{ // at the time of the list
			Kind: ranker.EventInteraction, UserID: user, Time: at, ItemID: items[rng.IntN(2)],
			Action: "click", ImpressionID: list,
		})
	}
	return events
}

// logOf returns the records of imports that follow each other, one batch each, as a log has them.
func logOf(imports ...[]ranker.Event) replay.EachRecord {
	var records []event.Record
	for k, events := range imports {
		for _, e := range events {
			records = append(records, event.Record{
				Seq: uint64(len(records) + 1), Arrival: importDay + int64(k)*hour,
				Replica: "00000000000000aa", Event: e,
			})
		}
	}
	return eachOf(records)
}

func eachOf(records []event.Record) replay.EachRecord {
	return func(yield func(rec *event.Record, number uint64) bool) error {
		for i := range records {
			rec := records[i]
			if !yield(&rec, rec.Seq) {
				return nil
			}
		}
		return nil
	}
}

func timeline(t *testing.T, log replay.EachRecord) *replay.Timeline {
	t.Helper()
	out, err := replay.NewTimeline(t.Context(), log, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	})
	return out
}

// told describes what a replay of the log sees: the scan's result, and the state at each list.
func told(t *testing.T, log replay.EachRecord) string {
	t.Helper()
	src := timeline(t, log).Records
	scanned, err := replay.Scan(t.Context(), src, replay.Options{State: features.DefaultConfig()})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintln(&out, scanned.From, scanned.To, scanned.ClickedLists, scanned.LateFollowUps,
		scanned.Interactions, scanned.Users.IDs(), scanned.Items.IDs())
	schema, err := ranker.NewSchema([]ranker.Feature{
		{Name: "age", Kind: ranker.KindAge},
		{
			Name: "c", Kind: ranker.KindCount, Scope: ranker.ScopeItem, Action: "click",
			HalfLife: "7d",
		},
		{Name: "words", Kind: ranker.KindWordCount, Field: "title"},
		{Name: "user", Kind: ranker.KindNumber, Field: "user.age"},
	})
	if err != nil {
		t.Fatal(err)
	}
	state := features.New(features.DefaultConfig())
	lists := scanned.Impressions(0, scanned.Last.Seq+1)
	err = scanned.Walk(t.Context(), src, state, lists, replay.WalkOptions{},
		func(x *replay.Example) error {
			got, err := state.Read(&ranker.FeatureQuery{
				User: x.Request.User, Now: x.Request.Time, Schema: schema,
				Candidates: x.Request.Candidates,
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(&out, x.Seq, x.Request.User, x.Items, x.Gains, got.Columns, got.Recent)
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A replay of imported history does not depend on the order of the files, on the order within
// them, and on whether the catalogue is imported first or last.
func TestOrderOfImportsDoesNotMatter(t *testing.T) {
	all := history()
	items, behaviour := all[:41], all[41:]
	want := told(t, logOf(items, behaviour))
	shuffled := slices.Clone(all)
	rand.Shuffle(len(shuffled), func(i, j int) {
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	})
	for name, log := range map[string]replay.EachRecord{
		"catalogue last": logOf(behaviour, items),
		"newest first":   logOf(behaviour[700:], behaviour[:700], items),
		"shuffled":       logOf(shuffled),
	} {
		if got := told(t, log); got != want {
			for i, line := range strings.Split(got, "\n") {
				if w := strings.Split(want, "\n")[i]; line != w {
					t.Errorf("%s: line %d\n got %.500s\nwant %.500s", name, i, line, w)
					break
				}
			}
		}
	}
}

// Two years that were imported at once span two years, and the newest share is by event time.
func TestImportedHistorySpansItsYears(t *testing.T) {
	all := history()
	scanned, err := replay.Scan(t.Context(), timeline(t, logOf(all[700:], all[:700])).Records,
		replay.Options{State: features.DefaultConfig(), Until: importDay - 365*24*hour})
	if err != nil {
		t.Fatal(err)
	}
	if from := importDay - 730*24*hour; scanned.From != from ||
		scanned.To >= importDay-365*24*hour || scanned.To < importDay-367*24*hour {
		t.Errorf("the log spans %s to %s", event.FormatTime(scanned.From),
			event.FormatTime(scanned.To))
	}
	cut, err := scanned.HoldoutStart(0.1)
	if err != nil {
		t.Fatal(err)
	}
	newest := scanned.Impressions(cut, scanned.Last.Seq+1)
	for i, list := range scanned.Lists[:len(scanned.Lists)-len(newest)] {
		if list.Time > scanned.Lists[len(scanned.Lists)-len(newest)].Time {
			t.Errorf("list %d is newer than the held-out ones", i)
		}
	}
	if scanned.ClickedLists != len(scanned.Lists) || scanned.LateFollowUps != 0 {
		t.Errorf("%d of %d lists are clicked, %d clicks are late", scanned.ClickedLists,
			len(scanned.Lists), scanned.LateFollowUps)
	}
}

// Live records stay in the order of arrival, whatever their event times are, and imported ones
// stand between them by event time. A log in that order keeps its numbers.
func TestTimelineMergesLiveRecords(t *testing.T) {
	live := func(seq uint64, arrival, at int64) event.Record {
		return event.Record{Seq: seq, Arrival: arrival, Event: ranker.Event{
			Kind: ranker.EventUser, ID: fmt.Sprint("l", seq), UserID: "u", Time: at,
		}}
	}
	imported := func(seq uint64, arrival, at int64) event.Record {
		rec := live(seq, arrival, at)
		rec.Event.ID, rec.Event.Imported = fmt.Sprint("m", seq), true
		return rec
	}
	order := func(records ...event.Record) (ids []string, numbers []uint64) {
		for rec, err := range timeline(t, eachOf(records)).Records() {
			if err != nil {
				t.Fatal(err)
			}
			ids, numbers = append(ids, rec.Event.ID), append(numbers, rec.Seq)
		}
		return ids, numbers
	}
	const d = importDay
	ids, numbers := order(imported(2, d, d-5), live(4, d+1, d-9), live(7, d+2, d-8))
	if fmt.Sprint(ids, numbers) != "[m2 l4 l7] [2 4 7]" {
		t.Errorf("in order: %v, numbers %v", ids, numbers)
	}
	ids, numbers = order(
		live(1, d-20, d-30), live(2, d-10, d-40), imported(3, d, d-15), imported(4, d, d-90),
		imported(5, d, 0), live(6, d+5, 0), imported(7, d+9, d+20),
	)
	if fmt.Sprint(ids) != "[m5 m4 l1 m3 l2 l6 m7]" ||
		!slices.Equal(numbers, []uint64{1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("merged: %v, numbers %v", ids, numbers)
	}
}

// All imported history arrives with the newest import, so that a full state drops the same users
// and items whichever file came first. What happened when it arrived keeps its arrival: an event
// without a time, or with one after its import.
func TestImportedHistoryArrivesAtOnce(t *testing.T) {
	const first, second = importDay, importDay + hour
	click := func(id, user string, at int64) ranker.Event {
		return ranker.Event{
			Kind: ranker.EventInteraction, ID: id, UserID: user, ItemID: "i", Action: "click",
			Time: at, Imported: true,
		}
	}
	const users = 200
	var halves [2][]ranker.Event
	for i := range int64(users) {
		id := fmt.Sprint("u", i)
		halves[i%2] = append(halves[i%2], click("of "+id, id, first-(users-i)*hour))
	}
	keptUsers := func(imports ...[]ranker.Event) (kept []bool) {
		cfg := features.DefaultConfig()
		cfg.MaxUsers = users / 4
		state := features.New(cfg)
		for rec, err := range timeline(t, logOf(imports...)).Records() {
			if err != nil {
				t.Fatal(err)
			}
			state.Apply(&rec)
		}
		for i := range users {
			got, err := state.Read(&ranker.FeatureQuery{
				User: fmt.Sprint("u", i), Now: second, Schema: new(ranker.Schema),
			})
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, len(got.Recent) > 0)
		}
		return kept
	}
	a, b := keptUsers(halves[0], halves[1]), keptUsers(halves[1], halves[0])
	if !slices.Equal(a, b) || !slices.Contains(a, true) || !slices.Contains(a, false) {
		t.Errorf("one file first keeps the users %v, the other one first %v", a, b)
	}

	newer, older := click("newer", "u1", first-hour), click("older", "u2", first-2*hour)
	arrivals := map[string]int64{}
	log := logOf([]ranker.Event{newer, click("untimed", "u3", 0), click("early", "u4", first+1)},
		[]ranker.Event{older})
	for rec, err := range timeline(t, log).Records() {
		if err != nil {
			t.Fatal(err)
		}
		arrivals[rec.Event.ID] = rec.Arrival
	}
	want := map[string]int64{"newer": second, "older": second, "untimed": first, "early": first}
	if !maps.Equal(arrivals, want) {
		t.Errorf("the records arrive at %v, want %v", arrivals, want)
	}
}

// An item that is imported again after its deletion is back, although its import has no time.
func TestReimportedItemIsBack(t *testing.T) {
	item := ranker.Event{
		Kind: ranker.EventItem, ID: "a", ItemID: "i", Title: new(string), Imported: true,
	}
	again := item
	again.ID = "b"
	deleted := ranker.Event{Kind: ranker.EventDelete, ID: "d", ItemID: "i", Time: importDay}
	click := ranker.Event{
		Kind: ranker.EventInteraction, ID: "c", UserID: "u", ItemID: "i", Action: "click",
		Time: importDay - hour, Imported: true,
	}
	records := logOf([]ranker.Event{click, item}, []ranker.Event{deleted}, []ranker.Event{again})
	log, err := replay.Scan(t.Context(), timeline(t, records).Records,
		replay.Options{State: features.DefaultConfig()})
	if err != nil {
		t.Fatal(err)
	}
	if log.Catalogue.Item("i") == nil {
		t.Error("the item is gone")
	}
}

// A bundle has seen the records of its log ranges that happened before the held-out part.
func TestUnseenFrom(t *testing.T) {
	all := history()
	log := timeline(t, logOf(all[700:], all[:700]))
	var cut *bundle.HeldOutFrom
	n := uint64(0)
	if err := log.Each(func(rec *event.Record, number uint64) bool {
		if n = number; number == 900 {
			at := bundle.HeldOutFrom(event.OrderOf(rec))
			cut = &at
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	span := func(replica string, last uint64) []bundle.LogRange {
		return []bundle.LogRange{{Replica: replica, Last: bundle.LogPosition{Seq: last}}}
	}
	const replica = "00000000000000aa"
	for name, c := range map[string]struct {
		data bundle.TrainingData
		want uint64
	}{
		"another log":    {bundle.TrainingData{Logs: span("00000000000000bb", n)}, 1},
		"everything":     {bundle.TrainingData{Logs: span(replica, n)}, n + 1},
		"with a holdout": {bundle.TrainingData{Logs: span(replica, n), HeldOutFrom: cut}, 900},
	} {
		if got, err := log.UnseenFrom(&c.data); err != nil || got != c.want {
			t.Errorf("%s: unseen from %d, want %d; %v", name, got, c.want, err)
		}
	}
}
