package api

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/ranker"
)

// The answer of /recommend as types that reflection encodes, in the order of appendResponse.
type (
	reflectedResponse struct {
		RequestID   string            `json:"request_id"`
		Items       []reflectedItem   `json:"items"`
		NoAnswer    *float64          `json:"no_answer,omitzero"`
		Model       string            `json:"model"`
		Experiments map[string]string `json:"experiments"`
		Coverage    struct {
			Text     float64 `json:"text"`
			Features float64 `json:"features"`
			Known    float64 `json:"known"`
		} `json:"coverage"`
		Degraded []string       `json:"degraded"`
		Timings  jsontext.Value `json:"timings_ms"`
	}
	reflectedItem struct {
		ID      string            `json:"id"`
		Rank    int               `json:"rank"`
		Score   *float64          `json:"score"`
		Explain *reflectedExplain `json:"explain,omitzero"`
	}
	reflectedExplain struct {
		Base            *float64                `json:"base"`
		Contributions   []reflectedContribution `json:"contributions"`
		RankWithoutText int                     `json:"rank_without_text"`
		MovedBy         []string                `json:"moved_by"`
	}
	reflectedContribution struct {
		Feature      string   `json:"feature"`
		Group        string   `json:"group"`
		Value        *float64 `json:"value"`
		Contribution *float64 `json:"contribution"`
	}
)

func reflected(r *ranker.Response) reflectedResponse {
	number := func(x float64) *float64 {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil
		}
		return &x
	}
	out := reflectedResponse{
		RequestID: r.RequestID, Model: r.Model, Experiments: r.Experiments, Degraded: r.Degraded,
	}
	out.Coverage.Text, out.Coverage.Features = r.Coverage.Text, r.Coverage.Features
	out.Coverage.Known, out.NoAnswer = r.Coverage.Known, r.NoAnswer
	for i := range r.Items {
		it := &r.Items[i]
		item := reflectedItem{ID: it.ID, Rank: it.Rank, Score: number(it.Score)}
		if x := it.Explain; x != nil {
			item.Explain = &reflectedExplain{
				Base: number(x.Base), RankWithoutText: x.RankWithoutText, MovedBy: x.MovedBy,
			}
			for _, c := range x.Contributions {
				item.Explain.Contributions = append(item.Explain.Contributions,
					reflectedContribution{
						c.Feature, c.Group, number(c.Value), number(c.Contribution)})
			}
		}
		out.Items = append(out.Items, item)
	}
	timings := []byte{'{'}
	for i, t := range r.Timings {
		if i > 0 {
			timings = append(timings, ',')
		}
		timings = fmt.Appendf(timings, "%q:%.3f", t.Stage, float64(t.Took.Microseconds())/1000)
	}
	out.Timings = append(timings, '}')
	return out
}

// randomResponse returns an answer with texts that need escapes, missing values, and numbers that
// need no exponent: appendNumber writes exponents with two digits.
func randomResponse(rng *rand.Rand) *ranker.Response {
	texts := []string{"a", "", "ü☃", "\"quoted\"", `back\slash`, "line\nbreak", "\x01\x7f",
		"<&>", "\u2028", "😀"}
	text := func() string { return texts[rng.IntN(len(texts))] + strconv.Itoa(rng.IntN(1000)) }
	number := func() float64 {
		special := []float64{0, 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e20, 1e-6, 123456}
		if rng.IntN(3) == 0 {
			return special[rng.IntN(len(special))]
		}
		return (rng.Float64() + 1e-3) * math.Pow10(rng.IntN(20)-2)
	}
	list := func() []string {
		out := make([]string, rng.IntN(3))
		for i := range out {
			out[i] = text()
		}
		return out
	}
	noAnswer := (*float64)(nil)
	if rng.IntN(2) == 0 {
		noAnswer = new(rng.Float64() + 1e-3)
	}
	r := &ranker.Response{
		NoAnswer:  noAnswer,
		RequestID: text(), Model: text(), Degraded: list(), Experiments: map[string]string{},
		Coverage: ranker.Coverage{Text: rng.Float64() + 1e-3, Features: 1, Known: rng.Float64()},
	}
	for range rng.IntN(4) {
		r.Experiments[text()] = text()
	}
	for i := range rng.IntN(9) {
		r.Timings = append(r.Timings, ranker.Timing{
			Stage: "stage" + strconv.Itoa(i), Took: time.Duration(rng.IntN(1e9))})
	}
	for i := range rng.IntN(5) {
		item := ranker.RankedItem{ID: text(), Rank: i + 1, Score: number()}
		if rng.IntN(2) == 0 {
			item.Explain = &ranker.Explanation{
				Base: number(), RankWithoutText: rng.IntN(9), MovedBy: list()}
			for range rng.IntN(3) {
				item.Explain.Contributions = append(item.Explain.Contributions,
					ranker.Contribution{
						Feature: text(), Group: text(), Value: number(), Contribution: number()})
			}
		}
		r.Items = append(r.Items, item)
	}
	return r
}

// The encoder that is written by hand gives the bytes that reflection gives.
func TestAppendResponse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		r := randomResponse(rng)
		want, err := json.Marshal(reflected(r), json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		if got := appendResponse(nil, r); string(got) != string(want) {
			t.Fatalf("%s\nwant\n%s", got, want)
		}
	}
}
