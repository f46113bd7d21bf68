package training_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/viterin/vek/vek32"

	"relish/features/event"
	"relish/ranker"
	"relish/ranker/signals"
	"relish/training"
	"relish/training/finetune"
)

// wordVectors gives each text the mean of its words' random directions.
type wordVectors struct{ textVectors }

// Fetch implements ranker.Vectors.
func (v wordVectors) Fetch(_ context.Context, items []*ranker.ItemInfo, out [][]float32) {
	v.Lookup(items, out)
}

// Lookup implements ranker.Vectors.
func (wordVectors) Lookup(items []*ranker.ItemInfo, out [][]float32) (missing int) {
	for i, it := range items {
		if out[i] = nil; it == nil || it.TextKey == 0 {
			continue
		}
		sum := make([]float32, 32)
		for _, word := range strings.Fields(it.Body()) {
			h := fnv.New64()
			h.Write([]byte(word))
			r := rand.New(rand.NewPCG(h.Sum64(), 2))
			for k := range sum {
				sum[k] += float32(r.NormFloat64())
			}
		}
		vek32.MulNumber_Inplace(sum, 1/vek32.Norm(sum))
		out[i] = sum
	}
	return 0
}

const questionAnswers = 12

// questionLog has lists of 12 answers, one of which is chosen. A question has two words of its
// answer's three, which no answer has, and a number.
func questionLog(lists, users int) []event.Record {
	r := rand.New(rand.NewPCG(6, 6))
	var events []ranker.Event
	now := int64(1_750_000_000_000)
	add := func(e ranker.Event) {
		now += 1000
		e.ID, e.Time = fmt.Sprint("e", len(events)), now
		events = append(events, e)
	}
	var ids []string
	for i := range questionAnswers {
		title := fmt.Sprint("answer", i)
		ids = append(ids, fmt.Sprint("a", i))
		add(ranker.Event{Kind: ranker.EventItem, ItemID: ids[i], Title: &title})
	}
	for n := range lists {
		answer, items := r.IntN(questionAnswers), slices.Clone(ids)
		r.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
		user, k := fmt.Sprint("u", n%users), r.IntN(3)
		query := fmt.Sprintf("word%[1]d-%[2]d word%[1]d-%[3]d %[4]d", answer, k, (k+1)%3, n)
		context := map[string]ranker.FieldValue{"query": ranker.StringValue(query)}
		add(ranker.Event{
			Kind: ranker.EventImpression, UserID: user,
			Impression: &ranker.Impression{Items: items, Context: context},
		})
		add(ranker.Event{
			Kind: ranker.EventInteraction, UserID: user, ItemID: ids[answer], Action: "click",
			ImpressionID: events[len(events)-1].ID,
		})
	}
	return logOf(events)
}

// questionInputs are the inputs of a training on questions.
func questionInputs(t *testing.T, records []event.Record) training.Inputs {
	in := inputs(t, records)
	in.TextSpec, in.Vectors = ranker.TextSpec{"title"}, wordVectors{}
	in.Config.Signals = []string{signals.KindText, signals.KindQueryHistory}
	return in
}

// What was chosen for similar questions ranks the answers of new questions, although no answer
// shares a word with its questions. The text alone does not.
func TestQueryHistory(t *testing.T) {
	records := questionLog(1500, 600)
	in := questionInputs(t, records)
	in.Holdout = 0.2
	trained := train(t, in)
	trained.Model.Vectors = wordVectors{}
	full, columns := ndcg(t, records, trained.Model, trained.HoldoutStart)
	text := columns[slices.IndexFunc(trained.Model.Schema.Columns(),
		func(c ranker.Column) bool { return c.Name == "text.query" })]
	if full < 0.95 || text > 0.6 {
		t.Errorf("NDCG@10 %.3f; text.query alone %.3f", full, text)
	}
}

// If the encoder was fine-tuned on pairs, the scorer learns from the questions that EncoderPairs
// leaves it, and from no others.
func TestEncoderPairs(t *testing.T) {
	records := questionLog(900, 600)
	in := questionInputs(t, records)
	in.PairsEncoder = true
	log, err := in.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pairs := training.EncoderPairs(log, nil)
	ofEncoder := map[string]bool{}
	for _, p := range pairs {
		ofEncoder[p.Question] = true
		var answer, wanted int
		if _, err := fmt.Sscanf(p.Question, "word%d-", &wanted); err != nil {
			t.Fatal(err)
		}
		fmt.Sscanf(p.Chosen.ID, "a%d", &answer)
		if answer != wanted || len(p.Others) != questionAnswers-1 ||
			slices.Contains(p.Others, p.Chosen) {
			t.Fatalf("%q: chosen %s among %d others", p.Question, p.Chosen.ID, len(p.Others))
		}
	}
	if share := float64(len(ofEncoder)) / 900; share < 0.7 || share > 0.8 {
		t.Errorf("the encoder gets %.2f of the questions", share)
	}
	train(t, in)
	lists := dataset(t, in).ListSeqs
	for _, seq := range lists {
		query := ranker.SearchText(records[seq-1].Event.Impression.Context)
		if ofEncoder[query] {
			t.Fatalf("the scorer learns from %q, which is for the encoder", query)
		}
	}
	if len(lists)+len(ofEncoder) != 900 {
		t.Errorf("the scorer has %d questions, the encoder %d, of 900",
			len(lists), len(ofEncoder))
	}
}

// A file of pairs names answers by their id or gives their text. Questions of the scorer are left
// out.
func TestReadPairs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pairs.csv")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	records := questionLog(600, 600)
	in := questionInputs(t, records)
	log, err := in.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fromLog := training.EncoderPairs(log, nil)
	var ofScorer string
	for i := range log.Lists {
		query := log.Lists[i].Query
		if !slices.ContainsFunc(fromLog,
			func(p finetune.Pair) bool { return p.Question == query }) {
			ofScorer = query
		}
	}
	write("query,answer\nwhere is it,a3\nhow much,it costs nothing\n" + ofScorer + ",a1\n")
	file, err := training.ReadPairs(path)
	if err != nil || len(file) != 3 {
		t.Fatalf("%d pairs: %v", len(file), err)
	}
	added := training.EncoderPairs(log, file)[len(fromLog):]
	if len(added) != 2 || added[0].Chosen.ID != "a3" ||
		added[1].Chosen.Title() != "it costs nothing" {
		t.Errorf("the file adds %+v", added)
	}
	for text, want := range map[string]string{
		"query,answer\nx,\n":                                "line 2 has no query or no answer",
		"question,answer\nx,y\n":                            `no column "query"`,
		"query,answer\n" + strings.Repeat("x", 2000) + ",y": "at most 1024 are allowed",
	} {
		write(text)
		if _, err := training.ReadPairs(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q gives %v, want %s", text, err, want)
		}
	}
}
