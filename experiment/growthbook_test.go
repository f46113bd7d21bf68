package experiment_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"relish/experiment"
	"relish/experiment/targeting"
	"relish/ranker"
)

// payloadFile has everything that a payload can contain, and forced users, an interleaved
// experiment and an ended one, which it must not contain.
const payloadFile = `
holdout: {share: 0.08, seed: keep}
layers:
- name: home
  experiments:
  - name: left
    namespace: [home, 0, 0.4]
    coverage: 0.7
    arms: [{name: control, weight: 0.25}, {name: b, weight: 0.75, text: false}]
  - {name: right, namespace: [home, 0.4, 1], arms: [{name: control}, {name: b}, {name: c}]}
- name: sessions
  experiments:
  - name: by-session
    hash_attribute: session
    seed: café
    force: {secret-tester: b}
    arms: [{name: control}, {name: b}]
- name: shops
  experiments:
  - {name: by-shop, hash_attribute: shop, arms: [{name: control}, {name: b}]}
- name: targeted
  experiments:
  - name: targeted
    condition:
      $or: [{device: {$in: [phone, tablet]}}, {user.country: {$regex: "^(de|at)$"}}]
      user.age: {$gte: 30}
      app: {$vgte: 2.0.0}
      user.tags: {$elemMatch: {$eq: reader}}
    arms: [{name: control}, {name: b}]
- name: mixed
  experiments:
  - name: mixed
    mode: interleave
    arms: [{name: control}, {name: b, rules: {diversity: {lambda: 0.5, top: 9}}}]
- name: over
  experiments:
  - {name: over, end: 2026-01-01, arms: [{name: control}, {name: b}]}
`

// visitor returns the i-th user. The ids use several scripts.
func visitor(i int) *experiment.Subject {
	pick := func(values ...string) string { return values[i/7%len(values)] }
	prefix := []string{"user", "josé", "用户", "😀", "u"}[i%5]
	return &experiment.Subject{Now: noon, Attributes: targeting.Attributes{
		ID:      fmt.Sprintf("%s-%d", prefix, i),
		Session: fmt.Sprintf("s%x", i*i),
		Context: map[string]ranker.FieldValue{
			"device": ranker.StringValue(pick("phone", "desktop", "tablet")),
			"shop":   ranker.NumberValue(float64(i) / 4),
			"app":    ranker.StringValue([]string{"1.9.12", "2.0.0", "10.1.0-beta"}[i%3]),
		},
		User: map[string]ranker.FieldValue{
			"country": ranker.StringValue(pick("de", "fr", "at", "de-x")),
			"age":     ranker.NumberValue(float64(i % 60)),
			"tags":    ranker.StringsValue([]string{"walker", pick("reader", "cook")}),
		},
	}}
}

// attributes returns the subject as a frontend passes it to the SDK.
func attributes(s *experiment.Subject) map[string]any {
	out := map[string]any{"id": s.ID, "session": s.Session, "user": s.User}
	for name, v := range s.Context {
		out[name] = v
	}
	return out
}

// GrowthBook's JavaScript SDK finds the same arms as the service, for 10,000 users.
func TestJavaScriptSDKFindsTheSameArms(t *testing.T) {
	sdk, err := filepath.Abs("../.cache/node/growthbook.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(sdk); err != nil {
		t.Fatalf("the SDK is missing; run make test-setup: %v", err)
	}
	const n = 10_000
	s := set(t, payloadFile)
	payload := s.GrowthBook(time.UnixMilli(noon))
	if got := len(payload.Features); got != 5 {
		t.Fatalf("%d features", got)
	}
	in := map[string]any{"payload": payload}
	var users []map[string]any
	for i := range n {
		users = append(users, attributes(visitor(i)))
	}
	in["users"] = users
	data, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "testdata/arms.mjs", sdk)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(data), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []map[string]*string
	if err := json.Unmarshal(out, &found); err != nil || len(found) != n {
		t.Fatalf("%d users, %v", len(found), err)
	}
	seen := map[string]int{}
	for i := range n {
		want, got := arms(s, visitor(i)), map[string]string{}
		delete(want, "mixed")
		for name, arm := range found[i] {
			if arm != nil {
				got[name] = *arm
				seen[name+" "+*arm]++
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("user %d (%v): JavaScript finds %v, the service %v",
				i, attributes(visitor(i)), got, want)
		}
	}
	if len(seen) != 11 {
		t.Errorf("not every arm was assigned: %v", seen)
	}
}

func TestForcedUsersAreNotPublished(t *testing.T) {
	s := set(t, payloadFile)
	data, err := json.Marshal(s.GrowthBook(time.UnixMilli(noon)))
	if err != nil {
		t.Fatal(err)
	}
	status, err := json.Marshal(s.Status(time.UnixMilli(noon), nil))
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"payload": string(data), "status": string(status)} {
		if strings.Contains(text, "secret-tester") {
			t.Errorf("the %s names a forced user: %s", what, text)
		}
	}
	want := `{"key":"left","variations":["control","b"],"meta":[{"key":"control"},{"key":"b"}],` +
		`"weights":[0.25,0.75],"coverage":0.7,"hashAttribute":"id","hashVersion":2,"seed":"left",` +
		`"namespace":["home",0,0.4]}`
	if !strings.Contains(string(data), want) {
		t.Errorf("got %s", data)
	}
	want = `{"force":null,"range":[0,0.08],"hashAttribute":"id","hashVersion":2,"seed":"keep"}`
	if !strings.Contains(string(data), want) {
		t.Errorf("got %s", data)
	}
}
