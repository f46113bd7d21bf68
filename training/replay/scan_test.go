package replay_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/training/replay"
)

const (
	second = int64(1000)
	hour   = 60 * 60 * second
)

// tape is a log in memory.
type tape struct {
	records []event.Record
	now     int64
}

// add appends events, one per second.
func (t *tape) add(events ...ranker.Event) *tape {
	for _, e := range events {
		t.now += second
		if e.Time == 0 {
			e.Time = t.now
		}
		t.records = append(
			t.records,
			event.Record{Seq: uint64(len(t.records) + 1), Arrival: t.now, Event: e},
		)
	}
	return t
}

// wait advances the clock.
func (t *tape) wait(ms int64) *tape {
	t.now += ms
	return t
}

func (t *tape) source() replay.Source { return source(t.records) }

func source(records []event.Record) replay.Source {
	return func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

func list(id, user string, items ...string) ranker.Event {
	return ranker.Event{Kind: ranker.EventImpression, ID: id, UserID: user,
		Impression: &ranker.Impression{Items: items}}
}

func did(user, action, item, impression string) ranker.Event {
	return ranker.Event{
		Kind:         ranker.EventInteraction,
		ID:           fmt.Sprint(user, action, item, impression),
		UserID:       user,
		ItemID:       item,
		Action:       action,
		ImpressionID: impression,
	}
}

func item(id string) ranker.Event {
	return ranker.Event{Kind: ranker.EventItem, ID: "item " + id, ItemID: id, Title: &id}
}

func erase(user string) ranker.Event {
	return ranker.Event{
		Kind:     ranker.EventErase,
		ID:       "erase " + user,
		UserHash: features.UserHash(user),
	}
}

func scan(t testing.TB, tp *tape, opt replay.Options) *replay.Log {
	t.Helper()
	if opt.State.Actions == nil {
		opt.State = features.DefaultConfig()
	}
	if opt.Gains == nil {
		opt.Gains = map[string]float64{"view": 1, "purchase": 5, "comment": 0}
	}
	log, err := replay.Scan(t.Context(), tp.source(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// A follow-up counts for the list that it names, before or after it in the log, within
// FollowUpMillis.
func TestFollowUps(t *testing.T) {
	shown, click := list("l", "u", "a", "b", "c"), did("u", "click", "b", "l")
	for name, c := range map[string]struct {
		tape    *tape
		gains   []float32 // of the items a, b, c
		late    int
		clicked int
	}{
		"immediate": {new(tape).add(shown, click), []float32{0, 1, 0}, 0, 1},
		"late": {new(tape).add(
			shown,
		).wait(23 * hour).add(click), []float32{0, 1, 0}, 0, 1},
		"too late": {new(tape).add(
			shown,
		).wait(24 * hour).add(click), []float32{0, 0, 0}, 1, 0},
		"early": {new(tape).add(
			click,
		).wait(hour).add(shown), []float32{0, 1, 0}, 0, 1},
		"too early": {new(tape).add(
			click,
		).wait(24 * hour).add(shown), []float32{0, 0, 0}, 1, 0},
		"early and late": {new(tape).add(
			click, shown, did("u", "click", "c", "l"),
		), []float32{0, 1, 1}, 0, 1},
		"twice": {new(tape).add(shown, click, click), []float32{0, 1, 0}, 0, 1},
		"the highest counts": {new(tape).add(
			shown, did("u", "purchase", "b", "l"), did("u", "view", "b", "l"),
		), []float32{0, 5, 0}, 0, 1},
		"an action without gain": {new(tape).add(
			shown, did("u", "comment", "b", "l"),
		), []float32{0, 0, 0}, 0, 0},
		"an uncounted action": {new(tape).add(
			shown, did("u", "like", "b", "l"),
		), []float32{0, 0, 0}, 0, 0},
		"another item": {new(tape).add(
			shown, did("u", "click", "d", "l"),
		), []float32{0, 0, 0}, 0, 0},
		"another list": {new(tape).add(
			shown, did("u", "click", "b", "m"),
		), []float32{0, 0, 0}, 0, 0},
		"no list": {new(tape).add(
			shown, did("u", "click", "b", ""),
		), []float32{0, 0, 0}, 0, 0},
		"an item shown twice": {new(tape).add(
			list("l", "u", "a", "b", "a", "c"), did("u", "click", "c", "l"),
		), []float32{0, 0, 1}, 0, 1},
		"everything clicked": {new(tape).add(
			shown, click, did("u", "click", "a", "l"), did("u", "click", "c", "l"),
		), []float32{1, 1, 1}, 0, 0},
		"a click of another user": {new(tape).add(
			shown, did("session", "click", "b", "l"),
		), []float32{0, 1, 0}, 0, 1},
	} {
		log := scan(t, c.tape, replay.Options{})
		if len(log.Lists) != 1 || !slices.Equal(log.Lists[0].Gains, c.gains) ||
			log.LateFollowUps != c.late ||
			log.ClickedLists != c.clicked {
			t.Errorf(
				"%s: %+v, %d late, %d clicked; want gains %v",
				name,
				log.Lists,
				log.LateFollowUps,
				log.ClickedLists,
				c.gains,
			)
		}
	}
}

// FollowUpMillis and Until are respected.
func TestFollowUpMillisAndUntil(t *testing.T) {
	tp := new(tape).add(list("l", "u", "a", "b")).wait(hour).add(did("u", "click", "b", "l"))
	if log := scan(t, tp, replay.Options{FollowUpMillis: hour}); log.ClickedLists != 0 ||
		log.LateFollowUps != 1 {
		t.Errorf("%d clicked, %d late", log.ClickedLists, log.LateFollowUps)
	}
	if log := scan(t, tp, replay.Options{Until: tp.now}); len(log.Lists) != 1 ||
		len(log.Interactions) != 0 ||
		log.Last.Seq != 1 {
		t.Errorf(
			"until the last record: %d lists, %d interactions",
			len(log.Lists),
			len(log.Interactions),
		)
	}
}

// Scan counts the whole log.
func TestScanCounts(t *testing.T) {
	withScores := list("l2", "u", "a", "b")
	withScores.Impression.Scores = []float64{1, 0}
	withScores.Impression.Context = map[string]ranker.FieldValue{
		"device": ranker.StringValue("phone"),
		"hour":   ranker.NumberValue(7),
	}
	log := scan(
		t,
		new(tape).add(
			item("x"), list("l1", "v", "b", "a"), withScores, did("u", "click", "a", "l2"),
			did("u", "like", "a", ""), did("u", "view", "c", ""),
		),
		replay.Options{},
	)
	if want := []string{"x", "b", "a", "c"}; !slices.Equal(log.Items.IDs(), want) ||
		log.Items.Number("c") != 3 ||
		log.Items.Number("?") != -1 {
		t.Errorf("items %v, want %v", log.Items.IDs(), want)
	}
	if len(log.Interactions) != 2 || !log.Interactions[0].HasImpression ||
		log.Interactions[1].HasImpression ||
		log.Actions["click"] != 1 ||
		log.Actions["like"] != 0 {
		t.Errorf("interactions %+v, actions %v", log.Interactions, log.Actions)
	}
	if log.ScoredImpressions != 1 || log.Contexts["device"].Values["phone"] != 1 ||
		log.Contexts["hour"].Numbers != 1 ||
		log.First.Seq != 1 ||
		log.Last.Seq != 6 {
		t.Errorf(
			"scores %d, contexts %v, from %d to %d",
			log.ScoredImpressions,
			log.Contexts,
			log.First.Seq,
			log.Last.Seq,
		)
	}
	if log.Catalogue.Item("x") == nil || log.Catalogue.Item("a") != nil {
		t.Error("the catalogue differs from the described items")
	}
}

// An item that was described long ago and is still used keeps its content.
func TestOldContentStays(t *testing.T) {
	tp := new(tape).add(item("x"))
	for range 30 {
		tp.wait(30*24*hour).add(did("u", "click", "x", ""), item("y"))
	}
	if log := scan(t, tp, replay.Options{}); log.Catalogue.Item("x") == nil {
		t.Error("the item's content is gone")
	}
}

// Scan drops everything of an erased user. What the user does afterwards stays.
func TestErasedUsersAreDropped(t *testing.T) {
	log := scan(
		t,
		new(tape).add(
			list("l1", "u", "a", "b"), did("u", "click", "a", "l1"), did("v", "click", "a", ""),
			list("l2", "v", "a", "b"), erase("u"), list("l3", "u", "b", "c"),
			did("u", "click", "c", "l3"),
		),
		replay.Options{},
	)
	users := func() (out []string) {
		for _, s := range log.Interactions {
			out = append(out, fmt.Sprint(log.Users.IDs()[s.User], s.Seq))
		}
		for _, l := range log.Lists {
			out = append(out, fmt.Sprint(log.Users.IDs()[l.User], l.Seq))
		}
		return out
	}()
	if want := []string{"v3", "u7", "v4", "u6"}; !slices.Equal(users, want) {
		t.Errorf("interactions and lists %v, want %v", users, want)
	}
}

// Scan keeps the newest MaxLists, and clicks are attributed to them.
func TestListsAreBounded(t *testing.T) {
	tp := new(tape)
	for i := range 100 {
		tp.add(list(fmt.Sprint("l", i), "u", "a", "b"))
		if i > 20 {
			tp.add(did("u", "click", "b", fmt.Sprint("l", i-3)))
		}
	}
	log := scan(t, tp, replay.Options{MaxLists: 10})
	if len(log.Lists) != 10 || log.DroppedLists != 90 ||
		log.Lists[9].Seq != uint64(len(tp.records)-1) ||
		log.ClickedLists != 7 {
		t.Fatalf(
			"%d lists, %d dropped, %d clicked",
			len(log.Lists),
			log.DroppedLists,
			log.ClickedLists,
		)
	}
	// The newest fifth of all 100 lists would begin before the kept ones, the newest twentieth
	// within them.
	for share, want := range map[float64]uint64{0.2: log.Lists[0].Seq, 0.05: log.Lists[5].Seq} {
		if seq, err := log.HoldoutStart(share); err != nil || seq != want {
			t.Errorf("the newest %g begins at %d, want %d", share, seq, want)
		}
	}
}

// In a log with few clicked lists, interactions that name no impression count as lists. A single
// impression at the end is not the whole holdout, and the holdout has lists of both kinds.
func TestHoldoutOfMixedLogs(t *testing.T) {
	tp := interactionLog(5, 40, 60, 900) // 60 items, then 900 interactions
	tp.add(list("l1", "u1", "1", "2", "3"), did("u1", "click", "2", "l1"))
	cfg := features.DefaultConfig()
	cfg.DailyListed = 1000 // the users repeat themselves
	log := scan(t, tp, replay.Options{State: cfg})
	start, err := log.HoldoutStart(0.3)
	if err != nil || start != 60+900-270+1 {
		t.Errorf("the newest 0.3 begin at %d, %v", start, err)
	}
	sampled := log.SampledLists(start, math.MaxUint64, replay.Negatives{Count: 9}, 0, 1)
	shown := log.ClickedImpressions(start, math.MaxUint64)
	if len(shown) != 1 || len(sampled) < 50 {
		t.Errorf("the holdout has %d shown and %d sampled lists", len(shown), len(sampled))
	}
	if !log.NeedsSampledLists() {
		t.Error("one list is enough")
	}
}

// One rule says which lists are clicked: for the card, for the decision to sample lists, and for
// the parts of the log that a training plans with. A list in which everything was clicked says
// nothing about an order.
func TestOneRuleForClickedLists(t *testing.T) {
	tp := &tape{}
	for i := range replay.MinClickedLists + 5 {
		id := fmt.Sprint("l", i)
		tp.add(list(id, "u", "a", "b"), did("u", "click", "a", id))
		if i%2 == 0 && i < 20 {
			tp.add(did("u", "click", "b", id))
		}
	}
	tp.add(did("u", "click", "a", ""), did("u", "click", "b", ""))
	log := scan(t, tp, replay.Options{})
	want := replay.MinClickedLists - 5
	if log.ClickedLists != want || !log.NeedsSampledLists() ||
		len(log.ClickedImpressions(0, math.MaxUint64)) != want {
		t.Errorf("%d clicked lists, sampled %v; want %d", log.ClickedLists,
			log.NeedsSampledLists(), want)
	}
	last := log.Lists[len(log.Lists)-1].Seq
	if n, unlinked := log.CountClickedLists(last), log.CountUnlinked(last+3); n != 1 ||
		unlinked != 1 {
		t.Errorf("%d clicked lists and %d interactions without a list at the end", n, unlinked)
	}
}

func TestHoldoutStart(t *testing.T) {
	lists := new(tape).add(
		list("1", "u", "a"), did("u", "click", "a", "1"), list("2", "u", "a"), list("3", "u", "a"),
		list("4", "u", "a"),
	)
	interactions := new(tape).add(did("u", "click", "a", ""), did("u", "click", "b", ""), item("x"))
	for name, c := range map[string]struct {
		tape  *tape
		share float64
		want  uint64
	}{
		"half of the lists":        {lists, 0.5, 4},
		"all lists":                {lists, 1, 1},
		"none":                     {lists, 0, 6},
		"half of the interactions": {interactions, 0.5, 2},
		"no interaction":           {interactions, 0, 4},
	} {
		if got, err := scan(t, c.tape, replay.Options{}).HoldoutStart(c.share); err != nil ||
			got != c.want {
			t.Errorf("%s: from %d (%v), want %d", name, got, err, c.want)
		}
	}
	if _, err := scan(t, new(tape).add(
		item("x"),
	), replay.Options{}).HoldoutStart(0.5); err == nil ||
		!strings.Contains(err.Error(), "import events first") {
		t.Errorf("an empty log: %v", err)
	}
}

var errBroken = errors.New("the disk is broken")

// A log that cannot be read, or a cancelled context, ends both passes.
func TestErrorsEndBothPasses(t *testing.T) {
	tp := new(tape)
	for i := range 5000 {
		tp.add(list(fmt.Sprint(i), "u", "a", "b"), did("u", "click", "a", fmt.Sprint(i)))
	}
	opt := replay.Options{State: features.DefaultConfig()}
	log := scan(t, tp, opt)
	lists := log.ClickedImpressions(0, 1e9)
	nothing := func(*replay.Example) error { return nil }
	walk := func(ctx context.Context, src replay.Source, each func(*replay.Example) error) error {
		return log.Walk(ctx, src, features.New(opt.State), lists, replay.WalkOptions{}, each)
	}
	broken := func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) { yield(event.Record{}, errBroken) }
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		src  replay.Source
		want error
	}{
		"broken":    {t.Context(), broken, errBroken},
		"cancelled": {ended, tp.source(), context.Canceled},
	} {
		if _, err := replay.Scan(c.ctx, c.src, opt); !errors.Is(err, c.want) {
			t.Errorf("%s: Scan: %v", name, err)
		}
		if err := walk(c.ctx, c.src, nothing); !errors.Is(err, c.want) {
			t.Errorf("%s: Walk: %v", name, err)
		}
	}
	short := source(tp.records[:100])
	if err := walk(t.Context(), short, nothing); err == nil ||
		!strings.Contains(err.Error(), "the log ends before the list at sequence 101") {
		t.Errorf("a truncated log: %v", err)
	}
	fails := func(*replay.Example) error { return errBroken }
	if err := walk(t.Context(), tp.source(), fails); !errors.Is(err, errBroken) {
		t.Errorf("a failing caller: %v", err)
	}
}

// clickFarm is a log of ten shoppers, who look at four lists each and click on two items, and then
// of 100 users who look at one list each and click on another item alone.
func clickFarm() *tape {
	tp := new(tape)
	visit := func(visit, user string, clicked ...string) {
		tp.add(list(visit, user, "a", "b", "c", "d"))
		for _, item := range clicked {
			tp.add(did(user, "click", item, visit))
		}
	}
	for n := range 40 {
		visit(fmt.Sprint("l", n), fmt.Sprint("shopper", n%10), "b", "c")
	}
	for n := range 100 {
		visit(fmt.Sprint("f", n), fmt.Sprint("farm", n), "a")
	}
	return tp
}

// The clicks of a farm are as few labels as they are counts. What its users do later changes none.
func TestClickFarmTeachesLittle(t *testing.T) {
	tp := clickFarm()
	log := scan(t, tp, replay.Options{})
	labelled := func(log *replay.Log) (farm, shoppers int) {
		for _, l := range log.Lists {
			switch isFarm := strings.HasPrefix(log.Users.IDs()[l.User], "farm"); {
			case isFarm && slices.Max(l.Gains) > 0:
				farm++
			case slices.Max(l.Gains) > 0:
				shoppers++
			}
		}
		return farm, shoppers
	}
	farm, shoppers := labelled(log)
	if farm == 0 || farm > 2 || shoppers != 40 {
		t.Errorf("%d lists of the farm and %d of shoppers have labels", farm, shoppers)
	}
	if len(log.Interactions) != 180 {
		t.Errorf("the log has %d interactions, want 180", len(log.Interactions))
	}
	for n := range 100 {
		tp.add(did(fmt.Sprint("farm", n), "click", "d", ""))
	}
	later := scan(t, tp, replay.Options{})
	for i, x := range log.Interactions {
		if later.Interactions[i] != x {
			t.Fatalf("later events change %+v to %+v", x, later.Interactions[i])
		}
	}
	if again, _ := labelled(later); again != farm {
		t.Errorf("later events change %d labels of the farm to %d", farm, again)
	}
	opt := replay.Options{State: features.DefaultConfig()}
	opt.State.NewcomerExcess = 0
	if farm, _ := labelled(scan(t, tp, opt)); farm != 100 {
		t.Errorf("without the bound, %d lists of the farm have labels, want 100", farm)
	}
}
