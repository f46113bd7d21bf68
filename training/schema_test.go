package training_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/features"
	"relish/ranker"
	"relish/training"
	"relish/training/replay"
)

func text(s string) *string { return &s }

// described are items of which every one has a genre and a price, and few a colour.
func described(n int) (out []ranker.Event) {
	for i := range n {
		fields := map[string]ranker.FieldValue{
			"genre":  ranker.StringValue(fmt.Sprint("g", i%3)),
			"price":  ranker.NumberValue(float64(i)),
			"author": ranker.StringValue(fmt.Sprint("a", i)),
		}
		if i == 0 {
			fields["colour"] = ranker.StringValue("red")
		}
		out = append(
			out,
			ranker.Event{
				Kind:   ranker.EventItem,
				ID:     fmt.Sprint("i", i),
				ItemID: fmt.Sprint(i),
				Title:  text("t"),
				Fields: fields,
			},
		)
	}
	return out
}

func click(i int, action, impression string) ranker.Event {
	return ranker.Event{
		Kind:         ranker.EventInteraction,
		ID:           fmt.Sprint(action, i),
		UserID:       fmt.Sprint("u", i%5),
		ItemID:       fmt.Sprint(i % 60),
		Action:       action,
		ImpressionID: impression,
	}
}

func shown(i int) ranker.Event {
	return ranker.Event{
		Kind:   ranker.EventImpression,
		ID:     fmt.Sprint("l", i),
		UserID: fmt.Sprint("u", i%5),
		Impression: &ranker.Impression{
			Items: []string{fmt.Sprint(i % 60), fmt.Sprint((i + 1) % 60)},
		},
	}
}

// infer returns the features and reasons for a log with one event per interval.
func infer(
	t *testing.T,
	interval time.Duration,
	events []ranker.Event,
	columns, tables []string,
) ([]ranker.Feature, map[string]string) {
	t.Helper()
	for i := range events {
		events[i].Time = 1_700_000_000_000 + int64(i)*interval.Milliseconds()
	}
	cfg := features.DefaultConfig()
	cfg.Fields = []string{"tags", "genre", "colour", "author"}
	log, err := replay.Scan(t.Context(), source(logOf(events)), replay.Options{State: cfg})
	if err != nil {
		t.Fatal(err)
	}
	list, reasons := training.InferSchema(log, math.MaxUint64, cfg, columns, tables)
	schema, err := ranker.NewSchema(list)
	if err != nil {
		t.Fatalf("the schema is none: %v", err)
	}
	if err := features.CheckSchema(&cfg, schema); err != nil {
		t.Fatalf("the server does not count what it needs: %v", err)
	}
	why := map[string]string{}
	for i, r := range reasons {
		if why[r.Feature] = r.Why; r.Why == "" || r.Feature != list[i].Name ||
			strings.Contains(r.Why, "%!") {
			t.Errorf("reason %+v of %s", r, list[i].Name)
		}
	}
	if len(reasons) != len(list) {
		t.Errorf("%d features, %d reasons", len(list), len(reasons))
	}
	return list, why
}

// The schema has the features that the log has data for, and no others.
func TestInferSchema(t *testing.T) {
	several := func(n int, f func(i int) ranker.Event) (out []ranker.Event) {
		for i := range n {
			out = append(out, f(i))
		}
		return out
	}
	context := func(i int) ranker.Event {
		e := shown(i)
		e.Impression.Scores = []float64{1, 2}
		e.Impression.Context = map[string]ranker.FieldValue{
			"device":     ranker.StringValue([]string{"phone", "tv"}[i%2]),
			"hour":       ranker.NumberValue(3),
			"query":      ranker.StringValue("sea"),
			"session_id": ranker.StringValue(fmt.Sprint(i)),
		}
		if i == 0 {
			e.Impression.Context["rare"] = ranker.StringValue("x")
		}
		return e
	}
	clicks := func(i int) ranker.Event { return click(i, "click", "") }
	popular := func(i int) ranker.Event { // every 12 hours if one happens every 6 hours
		e := clicks(i)
		e.ItemID = fmt.Sprint(i % 2)
		return e
	}
	followUps := func(i int) ranker.Event { return click(i, "click", fmt.Sprint("l", i)) }
	for name, c := range map[string]struct {
		events          []ranker.Event
		interval        time.Duration
		columns, tables []string
		has, lacks      string // names of features
	}{
		"interactions alone": {
			events: append(described(60), several(100, clicks)...), interval: time.Second,
			has: "item.count.click item.within_list user.history field.count.genre " +
				"user.count.genre interacted.genre item.price item.price.within_list item.genre",
			lacks: "item.rate.click item.shown user.rate field.rate.genre item.count.any " +
				"item.author item.colour interacted.colour retrieval item.age item.count.click.1h",
		},
		"impressions": {
			events:   slices.Concat(described(60), several(50, shown), several(9, followUps)),
			interval: time.Second,
			has: "item.rate.click item.shown item.rate.within_list user.rate field.rate.genre " +
				"user.rate.genre",
			lacks: "field.count.genre context.device retrieval",
		},
		"several actions": {
			events:   append(several(20, clicks), click(1, "purchase", "")),
			interval: time.Second,
			has:      "item.count.any item.count.click item.count.purchase",
		},
		"requests with scores and context": {
			events:   append(several(60, context), several(20, clicks)...),
			interval: time.Second,
			has:      "context.device context.hour retrieval",
			lacks:    "context.query context.session_id context.rare",
		},
		"a long time": {
			events:   append(described(60), several(100, popular)...),
			interval: 6 * time.Hour,
			has:      "item.count.click.1d item.count.click.7d item.age",
			lacks:    "item.count.click.1h item.count.click.30d",
		},
		"a long time, many items": {
			events:   append(described(60), several(100, clicks)...),
			interval: 6 * time.Hour,
			has:      "item.count.click item.age",
			lacks:    "item.count.click.1h item.count.click.1d item.rate.click.7d",
		},
		"external tables and signals": {
			events: several(20, clicks), interval: time.Second,
			columns: []string{"text.mean", "factorization.score"}, tables: []string{"pop.score"},
			has: "text.mean factorization.score table.pop.score", lacks: "text.max",
		},
		"nothing": {interval: time.Second, lacks: "item.within_list user.history"},
	} {
		t.Run(name, func(t *testing.T) {
			list, why := infer(t, c.interval, c.events, c.columns, c.tables)
			for _, f := range strings.Fields(c.has) {
				if why[f] == "" {
					t.Errorf("%s is missing", f)
				}
			}
			for _, f := range strings.Fields(c.lacks) {
				if why[f] != "" {
					t.Errorf("%s should be missing: %s", f, why[f])
				}
			}
			again, _ := infer(t, c.interval, c.events, c.columns, c.tables)
			if fmt.Sprint(again) != fmt.Sprint(list) {
				t.Error("the same log gave another schema")
			}
		})
	}
}

// A reason has the figures of the log.
func TestReasons(t *testing.T) {
	events := append(described(60), shown(1), shown(2))
	for i := range 30 {
		events = append(events, click(i, "click", ""))
	}
	events = append(events, click(1, "view", ""))
	list, why := infer(t, time.Second, events, []string{"residual.learned"}, nil)
	for f, want := range map[string]string{
		"item.count.any": `31 interactions "any"`, "item.count.click": `30 interactions "click"`,
		"item.rate.view": "2 impressions", "item.price": "60 of 60 items", "item.genre": "3 values",
	} {
		if !strings.Contains(why[f], want) {
			t.Errorf("%s: %q, want %q", f, why[f], want)
		}
	}
	i := slices.IndexFunc(list, func(f ranker.Feature) bool { return f.Name == "item.genre" })
	if !slices.Equal(list[i].Values, []string{"g0", "g1", "g2"}) {
		t.Errorf("genre's values %v", list[i].Values)
	}
	if last := list[len(list)-1]; last.Group != "behaviour" || last.Column != "residual.learned" {
		t.Errorf("the signal's feature is %+v", last)
	}
}

// Fields may have the name of a counter, and a field may hold numbers for some items and strings
// for others. Each still gets its feature.
func TestNamesThatClash(t *testing.T) {
	var events []ranker.Event
	for i := range 40 {
		fields := map[string]ranker.FieldValue{
			"age":         ranker.NumberValue(1),
			"within_list": ranker.NumberValue(2),
			"shown":       ranker.StringValue("x"),
			"year":        ranker.NumberValue(1990),
		}
		if i%2 == 0 {
			fields["year"] = ranker.StringValue("old")
		}
		events = append(
			events,
			ranker.Event{
				Kind:   ranker.EventItem,
				ID:     fmt.Sprint(i),
				ItemID: fmt.Sprint(i),
				Fields: fields,
			},
			shown(i),
			click(i, "click", ""),
		)
	}
	list, _ := infer(t, 6*time.Hour, events, nil, nil)
	kinds := map[string][]string{}
	for _, f := range list {
		kinds[f.Field] = append(kinds[f.Field], f.Kind)
	}
	for field, want := range map[string]string{
		"age": ranker.KindNumber, "within_list": ranker.KindNumber,
		"shown": ranker.KindCategory, "year": ranker.KindCategory,
	} {
		if !slices.Contains(kinds[field], want) {
			t.Errorf("the field %q has the features %v", field, kinds[field])
		}
	}
	if !slices.Contains(kinds["year"], ranker.KindNumber) {
		t.Errorf("the field year has the features %v", kinds["year"])
	}
}

// Complete makes a valid config of the zero value. Validate reports each problem with its name.
func TestConfig(t *testing.T) {
	c := training.Config{}.Complete()
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	d := training.DefaultConfig()
	if !slices.Equal(d.Scorer.Leaves, c.Scorer.Leaves) || !maps.Equal(d.Gains, c.Gains) ||
		d.MaxLists != c.MaxLists || *d.Dropout != *c.Dropout {
		t.Errorf("completed %+v, defaults %+v", c, d)
	}
	zero := 0.0
	if c := (training.Config{Dropout: &zero}).Complete(); *c.Dropout != 0 || c.Validate() != nil {
		t.Error("a dropout of 0 is not kept, or is invalid")
	}
	dropout := 1.0
	bad := training.Config{
		Gains:         map[string]float64{"click": -1},
		FollowUpHours: -1,
		Negatives:     training.NegativesConfig{Count: 5000, Popular: 2},
		Signals:       []string{"unheard_of", "text", "text"},
		MaxLists:      7,
		Dropout:       &dropout,
		HalfLifeDays:  -3,
		Monotone:      map[string]int{"x": 2},
		Features:      []ranker.Feature{{Name: "x", Kind: "?"}},
		Scorer: training.ScorerConfig{
			Objective:    "regret",
			Leaves:       []int{1},
			Rounds:       -1,
			LearningRate: 7,
		},
	}
	bad = bad.Complete()
	err := bad.Validate()
	if err == nil {
		t.Fatal("an invalid config has no errors")
	}
	for _, want := range []string{
		"train.gains.click: -1 is outside", "train.follow_up_hours", "train.negatives.count",
		"train.negatives.popular", `train.signals: "unheard_of" is unknown; use one of`,
		`train.signals: "text" is listed twice`, "train.max_lists: 7 is outside 100",
		"train.dropout", "train.half_life_days", "train.monotone.x: 2 is neither",
		"train.features: ", `train.scorer.objective: "regret"`,
		"train.scorer.leaves: 1 is outside 2 to 128", "train.scorer.rounds",
		"train.scorer.learning_rate",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not contain %q: %v", want, err)
		}
	}
	none := training.Config{Scorer: training.ScorerConfig{Leaves: []int{}}}.Complete()
	if err := none.Validate(); err == nil || !strings.Contains(err.Error(), "at least one") {
		t.Errorf("no tree size: %v", err)
	}
}
