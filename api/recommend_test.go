package api_test

import (
	"fmt"
	"testing"

	"github.com/go-json-experiment/json"
)

// An acknowledged click changes the next answer.
func TestReadYourWrites(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	score := func() float64 {
		a := s.recommend(t, `{"user_id":"v","candidates":["a","b"],"record":false}`)
		for _, it := range a.Items {
			if it.ID == "b" {
				return it.Score
			}
		}
		t.Fatal("b is missing")
		return 0
	}
	for i := range 20 { // impressions without a click, so that the click rates differ
		const shown = `{"type":"impression","id":"z%d","user":"z","items":["a","b"]}`
		s.call("POST", "/feedback", fmt.Sprintf(shown, i))
	}
	for i := range 5 {
		before := score()
		const click = `{"type":"interaction","id":"w%[1]d","user":"w%[1]d","item":"b",` +
			`"action":"click"}`
		w := s.call("POST", "/feedback", fmt.Sprintf(click, i))
		if w.Code != 200 {
			t.Fatal(w.Body)
		}
		if after := score(); after <= before {
			t.Fatalf("click %d changed the score from %g to %g; it must rise", i, before, after)
		}
	}
}

// The base and the contributions of an explanation add up to the score.
func TestExplanationAddsUp(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	a := s.recommend(t, `{"user_id":"u","candidates":["a","b","c"],"explain":2}`)
	for i, it := range a.Items {
		if (it.Explain != nil) != (i < 2) {
			t.Fatalf("item %d: %+v", i, it.Explain)
		}
		if it.Explain == nil {
			continue
		}
		sum := it.Explain.Base
		for _, c := range it.Explain.Contributions {
			sum += c.Contribution
		}
		if d := sum - it.Score; d > 1e-9 || d < -1e-9 || it.Explain.RankWithoutText == 0 {
			t.Errorf("%+v", it)
		}
	}
}

// An item described in a request takes part in its ranking and is not stored.
func TestInlineItemsAreForThisRequestOnly(t *testing.T) {
	s := start(t, nil)
	seed(t, s)
	list := `["b",{"id":"new","title":"Sea bread","tags":["sea"]}]`
	a := s.recommend(t, withCandidates(list))
	if a.Items[0].ID != "new" {
		t.Errorf("the item that resembles the user's history must be first, got %+v", a.Items)
	}
	if w := s.call("GET", "/items/new", ""); w.Code != 404 {
		t.Errorf("an inline item was stored: %s", w.Body)
	}
}

func TestRecommendAccepts(t *testing.T) {
	s := start(t, nil)
	const object = `{"id":"a","title":"t","tags":["x"],"fields":{"price":3},"score":0.5}`
	const everyField = `{"user_id":"ü","session":"s","candidates":["a"],
	  "context":{"query":"q","n":1,"b":true},"limit":5,"deadline_ms":50,"explain":true,
	  "model":"prior","seed":-3,"record":false,"time":"2026-05-01T10:00:00Z"}`
	for name, c := range map[string]struct {
		body  string
		items int
	}{
		"ids":                      {`{"user_id":"u","candidates":["a","b"]}`, 2},
		"5,000":                    {withCandidates(candidateIDs(5000)), 5000},
		"a repeated id":            {`{"user_id":"u","candidates":["a","b","a"]}`, 2},
		"objects and ids":          {withCandidates(`[` + object + `,"b"]`), 2},
		"every field":              {everyField, 1},
		"time in ms":               {`{"user_id":"u","candidates":["a"],"time":1700000000000}`, 1},
		"a limit above the number": {`{"user_id":"u","candidates":["a","b"],"limit":100}`, 2},
		"a limit":                  {`{"user_id":"u","candidates":["a","b"],"limit":1}`, 1},
		"no explanation":           {`{"user_id":"u","candidates":["a"],"explain":false}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.recommend(t, c.body)
			if len(a.Items) != c.items || a.Degraded == nil || a.Experiments == nil ||
				a.Model != "prior" || a.RequestID == "" {
				t.Errorf("%+v", a)
			}
		})
	}
}

// No body makes the service answer 500 or with something that is not JSON.
func FuzzRecommend(f *testing.F) {
	s := start(f, nil)
	for _, seed := range []string{
		ranking,
		`{"user_id":"u","candidates":[{"id":"a","score":1e30,"fields":{"a":[1,"b"]}}],"explain":2}`,
		`[`, "\xff", `{"time":1e300}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := s.call("POST", "/recommend", body)
		var v any
		if w.Code >= 500 || json.Unmarshal(w.Body.Bytes(), &v) != nil {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}
