package alerts_test

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"relish/features/event"
	"relish/features/trends"
	"relish/internal/alerts"
	"relish/ranker"
)

// sentence is a text of financial news with its sentiment.
type sentence struct{ text, sentiment string }

// sentences reads the Financial PhraseBank, or makes sentences up if it is not there.
func sentences(t testing.TB) (list []sentence) {
	t.Helper()
	f, err := os.Open("../../../shared/data/phrasebank/train.csv.gz")
	if errors.Is(err, fs.ErrNotExist) {
		for i := range 3000 {
			sentiment := []string{"negative", "positive", "positive", "neutral", "neutral",
				"neutral", "neutral", "neutral"}[i%8]
			list = append(list, sentence{fmt.Sprint(sentiment, " news ", i), sentiment})
		}
		return list
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[1:] {
		list = append(list, sentence{row[0], row[1]})
	}
	return list
}

// newsroom is a simulated stream of sentences with their labels. It is an alerts.Source.
type newsroom struct {
	*trends.Counts
	rng      *rand.Rand
	all      []sentence
	negative []sentence
	now      time.Time
	seq      uint64
	newest   []alerts.Text // negative ones, newest first
}

func newNewsroom(t testing.TB, seed uint64) *newsroom {
	n := &newsroom{
		Counts: trends.New([]string{"sentiment"}, []string{"click"}),
		rng:    rand.New(rand.NewPCG(seed, 1)), all: sentences(t),
		now: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC),
	}
	for _, s := range n.all {
		if s.sentiment == "negative" {
			n.negative = append(n.negative, s)
		}
	}
	return n
}

// write publishes one sentence, and its label as the server sets it.
func (n *newsroom) write(s sentence) {
	id := fmt.Sprint("news-", n.seq)
	fields := map[string]ranker.FieldValue{
		"sentiment":                      ranker.StringValue(s.sentiment),
		"sentiment" + trends.LabelSuffix: ranker.NumberValue(.9),
	}
	for _, e := range []ranker.Event{
		{Kind: ranker.EventItem, ItemID: id, Title: &s.text},
		{Kind: ranker.EventItem, ItemID: id, Fields: fields},
	} {
		n.seq++
		n.Apply(&event.Record{Seq: n.seq, Arrival: n.now.UnixMilli(), Event: e})
	}
	if s.sentiment == "negative" {
		n.newest = append([]alerts.Text{{ID: id, Title: s.text, Time: n.now}}, n.newest...)
		n.newest = n.newest[:min(len(n.newest), 50)]
	}
}

// pass lets ten minutes pass. There are many sentences in the daytime of working days and few
// otherwise. The share of negative ones is that of the data, or surge if that is larger.
func (n *newsroom) pass(surge float64) {
	rate := 1.0
	if h := n.now.Hour(); h >= 7 && h < 19 {
		rate = 2
		if d := n.now.Weekday(); d != time.Saturday && d != time.Sunday {
			rate = 5
		}
	}
	for range 10 {
		n.now = n.now.Add(time.Minute)
		for p := rate / 10; p > 0 && n.rng.Float64() < p; p-- {
			from := n.all
			if n.rng.Float64() < surge {
				from = n.negative
			}
			n.write(from[n.rng.IntN(len(from))])
		}
	}
}

// Texts implements alerts.Source.
func (n *newsroom) Texts(
	_ context.Context, _, _ string, _ time.Time, most int,
) ([]alerts.Text, error) {
	return n.newest[:min(most, len(n.newest))], nil
}

// A month of usual news gives no alert. When half of the news turns negative, an alert begins
// within its window, and it ends after that. Time is simulated.
func TestSurgeOfNegativeNews(t *testing.T) {
	for seed := range uint64(3) {
		n := newNewsroom(t, seed)
		r := rule(t, "negative-surge", "share(sentiment=negative) > 2 x its usual in 3 h", 20)
		m := alerts.New(alerts.Options{
			Rules: []alerts.Rule{r}, Path: filepath.Join(t.TempDir(), "alerts.json"),
		})
		decided, ticks := 0, 0
		run := func(length time.Duration, surge float64) {
			for end := n.now.Add(length); n.now.Before(end); {
				n.pass(surge)
				if err := m.Tick(t.Context(), n, n.now); err != nil {
					t.Fatal(err)
				}
				if ticks++; m.Status()[0].Decision.State != alerts.Undecided {
					decided++
				}
			}
		}
		const quiet = 30 * 24 * time.Hour
		run(quiet, 0)
		if s := m.Status()[0]; len(s.Episodes) > 0 {
			t.Errorf("seed %d: quiet days have the episodes %+v", seed, s.Episodes)
		}
		if share := float64(decided) / float64(ticks); share < .5 {
			t.Errorf("seed %d: %.0f %% of the ticks decided something", seed, 100*share)
		}
		run(11*time.Hour, 0) // until 11:00 of a working day
		began := n.now
		run(3*time.Hour, .6)
		s := m.Status()[0]
		if len(s.Episodes) != 1 || s.Episodes[0].Started.Sub(began) > 3*time.Hour {
			t.Fatalf("seed %d: the surge of %s has %+v", seed, began, s)
		}
		e := s.Episodes[0]
		t.Logf("seed %d: after %s: %s", seed, e.Started.Sub(began), e.Decision.Reason)
		if len(e.Texts) != 5 || math.Abs(e.Decision.Usual-.126) > .1 {
			t.Errorf("seed %d: the episode is %+v", seed, e)
		}
		run(24*time.Hour, 0)
		if s := m.Status()[0]; s.Active || len(s.Episodes) != 1 || s.Episodes[0].Ended.IsZero() {
			t.Errorf("seed %d: a day later: %+v", seed, s)
		}
	}
}
