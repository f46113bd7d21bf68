package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"relish/features"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/config"
	"relish/training/modelcard"
)

const parityExperiments = `
layers:
- name: lists
  experiments:
  - name: filtered
    namespace: [users, 0, 0.5]
    arms:
    - {name: control}
    - {name: filtered, rules: {filters: [{field: id, in: [film-001, film-002, book-001]}]}}
  - name: mixed
    namespace: [users, 0.5, 1]
    mode: interleave
    arms:
    - {name: control}
    - {name: filtered, rules: {filters: [{field: id, in: [film-003, book-002]}]}}
`

// rankRandomly sends random rankings, and clicks on their first items.
func (s *service) rankRandomly(t *testing.T, rng *rand.Rand, n int) {
	t.Helper()
	for i := range n {
		candidates := []any{}
		for k := range 5 + rng.IntN(120) {
			id := fmt.Sprintf("%s-%03d", []string{"film", "book"}[rng.IntN(2)], k/2+1)
			item := map[string]any{"id": id + strings.Repeat("x", k%2), "score": rng.Float64()}
			if i%3 == 0 && k%4 == 0 {
				item["title"], item["tags"] = "Another one", []string{"sea"}
				item["fields"] = map[string]any{"price": rng.Float64()}
			}
			candidates = append(candidates, item)
		}
		request := map[string]any{
			"user_id": fmt.Sprintf("user-%04d", rng.IntN(60)), "candidates": candidates,
			"deadline_ms": 10000, "context": map[string]any{"query": "sea"},
		}
		if i%2 == 0 {
			request["limit"] = 1 + rng.IntN(10)
		}
		body, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		status, answer := s.post(t, "/recommend", string(body))
		items, _ := answer["items"].([]any)
		if status != http.StatusOK || len(answer["degraded"].([]any)) > 0 || len(items) == 0 {
			t.Fatalf("/recommend answers %d: %v", status, answer)
		}
		click := fmt.Sprintf(`{"type":"interaction","action":"click","id":"click-%v","user":%q,`+
			`"item":%q,"impression":%q}`, answer["request_id"], request["user_id"],
			items[0].(map[string]any)["id"], answer["request_id"])
		if status, answer := s.post(t, "/feedback", click); status != http.StatusOK {
			t.Fatalf("/feedback answers %d: %v", status, answer)
		}
	}
}

// TestParityTable ranks lists of every kind, restarts the service, and lets retention drop the
// beginning of the log. Every list that is left is reproduced, and the model card has the table.
func TestParityTable(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	experiments := filepath.Join(t.TempDir(), "experiments.yaml")
	if err := os.WriteFile(experiments, []byte(parityExperiments), 0o600); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 4 { // each start opens a segment of the log
		s := serve(t, "--data", data, "--no-text", "--experiments", experiments,
			"--log-features", "0.5", "--retain-bytes", "1500000")
		s.rankRandomly(t, rng, 60)
		s.stop(t)
	}
	_, dir := train(t, data, "--config", config)
	card := readCard(t, dir)
	rows := parityRows(t, card)
	for _, kind := range []string{
		"all", "limited", "rules removed items", "content in the request", "experiment",
		"interleaved", "after a retention, erasure or snapshot",
	} {
		if r := rows[kind]; r["compared"] < 10 || r["equal"] != r["compared"] ||
			r["lists"] != r["compared"] {
			t.Errorf("%s: %v, want all lists to be compared and equal", kind, r)
		}
	}
	checkReplicas(t, data, config, rows["all"]["lists"])
	checkOtherFeatures(t, data, config, rows["all"]["lists"])
	checkOtherState(t, data, config, rng)
	checkMismatch(t, data, config, rows["all"]["lists"])
}

// checkOtherFeatures trains with a configuration in which the prior, which ranked the lists, has
// other features. Nothing can be compared, which is no reason to refuse the training: a note on the
// model card and in the output says so.
func checkOtherFeatures(t *testing.T, data, config string, lists int) {
	t.Helper()
	other := withConfig(t, config, "state: {fields: [tags, author]}\n")
	out, err := relish(t, "train", "--data", data, "--no-text", "--config", other).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		fmt.Sprintf("note: %d of %d served lists cannot be computed again: the prior ranked it "+
			"with the features of another configuration.", lists, lists),
		"note: No served list could be computed again",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output does not say %q: %s", want, out)
		}
	}
	if strings.Contains(string(out), "warning: The figures belong") {
		t.Errorf("a note is printed as a warning: %s", out)
	}
}

// withConfig returns a new configuration file: the given one with more text.
func withConfig(t *testing.T, config, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "relish.yaml")
	if err := os.WriteFile(path, []byte(readFile(t, config)+more), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// parityRows returns the numbers of the parity table, by kind and by head of the column.
func parityRows(t *testing.T, card *modelcard.Data) map[string]map[string]int {
	t.Helper()
	rows := map[string]map[string]int{}
	for _, table := range card.Tables {
		if table.Title != modelcard.ParityTable {
			continue
		}
		for _, row := range table.Rows {
			rows[row[0]] = map[string]int{}
			for i, cell := range row[1:] {
				n, err := strconv.Atoi(cell)
				if err != nil {
					t.Fatal(err)
				}
				rows[row[0]][table.Head[i+1]] = n
			}
		}
	}
	return rows
}

// checkReplicas trains with the log of another replica. Its events may have reached the server at
// any time, so the lists may differ without being wrong.
func checkReplicas(t *testing.T, data, config string, lists int) {
	t.Helper()
	_, dir := train(t, data, "--config", config, "--log", importEvents(t, demoEvents(2)))
	rows := parityRows(t, readCard(t, dir))
	if r := rows["several replicas"]; r["lists"] != lists || r["different"] != 0 ||
		r["compared"]+r["not reproducible"] != lists {
		t.Errorf("several replicas: %v, want %d lists of which none is wrong", r, lists)
	}
}

// checkOtherState trains on lists that were served under two bounds of the state. Only the lists of
// the present bounds are compared. They are equal, because the server has replayed the log when the
// bounds changed. The number of the others is a note, and no reason to refuse the training.
func checkOtherState(t *testing.T, data, config string, rng *rand.Rand) {
	t.Helper()
	data = copyFolder(t, data)
	before := servedLists(t, data)
	other := withConfig(t, config, "state: {recent: 3, shown: 20}\n")
	s := serve(t, "--data", data, "--no-text", "--config", other)
	s.rankRandomly(t, rng, 40)
	s.stop(t)
	out, dir := train(t, data, "--config", other)
	rows := parityRows(t, readCard(t, dir))
	if r := rows["all"]; r["lists"] != before+40 || r["compared"] != 40 || r["equal"] != 40 {
		t.Errorf("%v, want %d lists, of which 40 are compared and equal", r, before+40)
	}
	want := fmt.Sprintf("%d of %d served lists cannot be computed again: it was ranked with "+
		"another state: or text: configuration, or by an earlier version.", before, before+40)
	if notes := fmt.Sprint(readCard(t, dir).Notes); !strings.Contains(notes, want) {
		t.Errorf("%s: the card does not say %q: %s", out.Version, want, notes)
	}
}

// servedLists returns the number of lists in the log of a data folder that Relish ranked.
func servedLists(t *testing.T, data string) (n int) {
	t.Helper()
	for rec, err := range eventlog.Read(ingest.LogDir(data), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if imp := rec.Event.Impression; imp != nil && imp.Served {
			n++
		}
	}
	return n
}

// copyFolder returns a copy of a folder.
func copyFolder(t *testing.T, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "d")
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return out
}

// forgetUsers removes all users from the state that the data folder has of its dropped records.
func forgetUsers(t *testing.T, data string) {
	t.Helper()
	path, cfg := filepath.Join(data, "cut"), config.Default()
	cfg.State.Text = cfg.Text
	state, err := features.ReadCheckpoint(cfg.State, strings.NewReader(readFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range slices.Collect(state.Users()) {
		state.PutUser(id, nil)
	}
	var out bytes.Buffer
	if err := errors.Join(state.WriteCheckpoint(&out),
		os.WriteFile(path, out.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// checkMismatch trains with users that are not those of the server. Training refuses, and names
// columns and numbers, unless it is told to go on.
func checkMismatch(t *testing.T, data, config string, lists int) {
	t.Helper()
	data = copyFolder(t, data)
	forgetUsers(t, data)
	args := []string{"train", "--data", data, "--no-text", "--config", config}
	out := mustFail(t, 1, args...)
	for _, want := range []string{
		fmt.Sprintf("of %d served feature matrices differ", lists), "limited", "interleaved",
		"Columns: ", "overlap.history", "--allow-mismatch",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the error does not say %q: %s", want, out)
		}
	}
	all, err := relish(t, append(args, "--allow-mismatch")...).CombinedOutput()
	if err != nil || !strings.Contains(string(all), "of the logged feature matrices differ") {
		t.Errorf("%v: %s", err, all)
	}
}
