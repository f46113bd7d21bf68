package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"relish/internal/demo"
)

// demoShop imports the demo's catalogue and 2,000 lists of 40 users, and serves them.
func demoShop(t *testing.T) *service {
	t.Helper()
	dir := t.TempDir()
	events := demo.New(demo.Options{Seed: 1, Users: 40, Lists: 2000}).Events()
	text, err := formatEvents(slices.Collect(events))
	if err != nil {
		t.Fatal(err)
	}
	log, data := filepath.Join(dir, "events.jsonl"), filepath.Join(dir, "data")
	if err := os.WriteFile(log, text, 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "import", "--data", data, log)
	return serve(t, "--data", data)
}

// candidate is a candidate of a request; without a title it stands for the item of the catalogue.
type candidate struct {
	ID    string   `json:"id"`
	Title string   `json:"title,omitempty"`
	Text  string   `json:"text,omitempty"`
	Tags  []string `json:"tags,omitempty"`
}

// hundred returns 100 candidates of the demo's catalogue, of all kinds.
func hundred() (out []candidate) {
	for i, item := range demo.Catalogue() {
		if i%3 == 0 && len(out) < 100 {
			out = append(out, candidate{ID: item.ID})
		}
	}
	return out
}

// rank returns the ids of the candidates, best first.
func (s *service) rank(t *testing.T, user, query string, candidates []candidate) []string {
	t.Helper()
	context := map[string]string{}
	if query != "" {
		context["query"] = query
	}
	body, err := json.Marshal(map[string]any{
		"user_id": user, "record": false, "deadline_ms": 10_000, "context": context,
		"candidates": candidates,
	})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.post(t, "/recommend", string(body))
	if status != http.StatusOK {
		t.Fatalf("status %d: %v", status, answer)
	}
	return order(t, answer)
}

// shopUsers are a stranger and users with a history.
var shopUsers = []string{"stranger", "user-0001", "user-0007", "user-0013", "user-0021"}

// A robot that clicks 10,000 times, a farm of 100 users that click 2,000 times without any list,
// and one whose users look at lists first raise an item by at most 5 of 100 places for other users,
// with the default configuration. The service counts what it leaves out, and names the item.
func TestPoisonedClicksGainLittle(t *testing.T) {
	for _, attack := range clickAttacks {
		t.Run(attack.name, func(t *testing.T) {
			s := demoShop(t)
			if _, metrics := s.get(t, "/metrics"); notCounted.MatchString(metrics) {
				t.Errorf("honest events are not counted: %s", notCounted.FindString(metrics))
			}
			// The attacked item's rank in the middle leaves the most room.
			target := s.rank(t, "stranger", "", hundred())[60]
			for i, gain := range s.attack(t, target, attack) {
				user := shopUsers[i]
				t.Logf("%s: %s gains %d places", user, target, gain)
				if gain > 5 {
					t.Errorf("%s: %s gains %d places", user, target, gain)
				}
			}
			_, metrics := s.get(t, "/metrics")
			want := `{reason="` + attack.reason + `",source=""}`
			got := notCounted.FindAllString(metrics, -1)
			if !strings.Contains(fmt.Sprint(got), want) {
				t.Errorf("the metrics name %v, want %s", got, want)
			}
			if _, ready := s.get(t, "/health/ready"); !strings.Contains(ready, target) {
				t.Errorf("/health/ready does not name %s: %s", target, ready)
			}
		})
	}
}

// attack lets an attack happen to an item, and returns how many places the item gains for each of
// shopUsers.
func (s *service) attack(t *testing.T, item string, attack clickAttack) (gains []int) {
	t.Helper()
	before := s.ranks(t)
	s.click(t, item, attack)
	after := s.ranks(t)
	for i := range shopUsers {
		gains = append(gains, before[i][item]-after[i][item])
	}
	return gains
}

// clickAttack is what a robot or a click farm does: each user clicks on one item.
type clickAttack struct {
	name, reason  string // reason is one of features.Uncounted
	users, clicks int    // clicks of each user
	listed        bool   // each user is first shown a list of the candidates
}

var clickAttacks = []clickAttack{
	{"robot", "repeated", 1, 10_000, false},
	{"farm", "newcomer", 100, 20, false},
	{"farm with lists", "newcomer", 100, 20, true},
}

// notCounted matches a metric of interactions that are not counted, unless it is 0.
var notCounted = regexp.MustCompile(
	`relish_interactions_not_counted_total\{reason="\w+",source="[^"]*"\} [1-9]`)

// ranks returns, for each of shopUsers, the ranks of the candidates.
func (s *service) ranks(t *testing.T) (out []map[string]int) {
	t.Helper()
	for _, user := range shopUsers {
		ranks := map[string]int{}
		for i, id := range s.rank(t, user, "", hundred()) {
			ranks[id] = i
		}
		out = append(out, ranks)
	}
	return out
}

// click lets users that the service does not know click on an item.
func (s *service) click(t *testing.T, item string, attack clickAttack) {
	t.Helper()
	for u := range attack.users {
		user, impression := fmt.Sprint(attack.name, "-", item, "-", u), ""
		if attack.listed {
			body, err := json.Marshal(map[string]any{"user_id": user, "candidates": hundred()})
			if err != nil {
				t.Fatal(err)
			}
			status, answer := s.post(t, "/recommend", string(body))
			if status != http.StatusOK {
				t.Fatalf("status %d: %v", status, answer)
			}
			impression = fmt.Sprintf(`"impression":%q,`, answer["request_id"])
		}
		for done := 0; done < attack.clicks; done += 1000 {
			var batch []string
			for i := done; i < min(attack.clicks, done+1000); i++ {
				batch = append(batch, fmt.Sprintf(`{"type":"interaction","action":"click",%s`+
					`"id":"%s-%d","user":%q,"item":%q}`, impression, user, i, user, item))
			}
			status, answer := s.post(t, "/feedback", "["+strings.Join(batch, ",")+"]")
			if status != http.StatusOK || answer["accepted"] != float64(len(batch)) {
				t.Fatalf("status %d: %v", status, answer)
			}
		}
	}
}
