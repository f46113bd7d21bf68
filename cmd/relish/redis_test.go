package main

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/internal/redisconn"
	"relish/internal/redistest"
)

// shopEvents writes the events of a small shop as NDJSON files. The parts hold all events in order.
// Each part but the first begins with the last twenty events of the one before.
func shopEvents(t *testing.T, parts int) (files []string) {
	t.Helper()
	var lines []string
	add := func(format string, a ...any) { lines = append(lines, fmt.Sprintf(format, a...)) }
	const start = 1_700_000_000_000
	for i := range 40 {
		add(`{"type":"item","id":"d%d","time":%d,"item":"i%d","title":"thing number %d",`+
			`"tags":["t%d","t%d"],"fields":{"author":"a%d","price":%d}}`,
			i, start+i, i, i, i%3, i%7, i%5, i)
	}
	for n := range 360 {
		user, item, at := n*7%12, n*n%40, start+1000*n
		if n%3 == 0 {
			add(`{"type":"impression","id":"s%d","time":%d,"user":"u%d",`+
				`"items":["i%d","i%d","i%d"]}`,
				n, at, user, item, (item+1)%40, (item+5)%40)
		} else {
			add(`{"type":"interaction","id":"c%d","time":%d,"user":"u%d","item":"i%d","action":%q}`,
				n, at, user, item, []string{"click", "view", "purchase"}[n%3])
		}
	}
	dir := t.TempDir()
	for p := range parts {
		from, to := max(0, p*len(lines)/parts-20), (p+1)*len(lines)/parts
		if p == 0 {
			from = 0
		}
		name := filepath.Join(dir, fmt.Sprint("part", p))
		text := strings.Join(lines[from:to], "\n")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	return files
}

// ranking ranks all items for a user at a fixed time, and returns ids and scores, best first.
func (s *service) ranking(t *testing.T, user string) (ids []string, scores []float64) {
	t.Helper()
	var candidates []string
	for i := range 40 {
		candidates = append(candidates, fmt.Sprintf(`"i%d"`, i))
	}
	request := fmt.Sprintf(
		`{"user_id":%q,"candidates":[%s],"deadline_ms":10000,"time":1700001000000}`,
		user, strings.Join(candidates, ","))
	status, answer := s.post(t, "/recommend", request)
	if status != http.StatusOK {
		t.Fatalf("status %d: %v", status, answer)
	}
	for _, it := range answer["items"].([]any) {
		scores = append(scores, it.(map[string]any)["score"].(float64))
	}
	return order(t, answer), scores
}

// mustAgree waits until two services give the same answers. A replica receives the counters of the
// others four times a second.
func mustAgree(t *testing.T, what string, a, b *service) {
	t.Helper()
	diff := ""
	defer func() {
		if t.Failed() {
			t.Logf("%s: %s", what, diff)
		}
	}()
	eventually(t, what+" agree", func() bool {
		diff = difference(t, a, b)
		return diff == ""
	})
}

// difference describes a difference between the answers of two services; it is empty if they agree.
func difference(t *testing.T, a, b *service) string {
	t.Helper()
	for u := range 12 {
		user := fmt.Sprint("u", u)
		ids, scores := a.ranking(t, user)
		otherIDs, otherScores := b.ranking(t, user)
		for i := range ids {
			if ids[i] != otherIDs[i] || math.Abs(scores[i]-otherScores[i]) > 1e-5 {
				return fmt.Sprintf("%s, rank %d: %s %v and %s %v", user, i+1, ids[i], scores[i],
					otherIDs[i], otherScores[i])
			}
		}
	}
	return ""
}

// TestReplicas runs two replicas on one Redis beside an embedded service. All answer alike, and
// feedback to one replica reaches the other. The state in Redis can be rebuilt from the logs and
// from a snapshot.
func TestReplicas(t *testing.T) {
	server, files := redistest.Start(t), shopEvents(t, 2)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	url := server.URL() + "?prefix=shop"
	for i, name := range []string{"a", "b"} {
		output(t, "import", "--redis", url, "--data", at(name), "--no-text", files[i])
	}
	output(t, append([]string{"import", "--data", at("one"), "--no-text"}, files...)...)
	start := func(name, url string) *service {
		args := []string{"--data", at(name), "--no-text", "--redis-read-timeout", "5s"}
		if url != "" {
			args = append(args, "--redis", url)
		}
		return serve(t, args...)
	}
	a, b, one := start("a", url), start("b", url), start("one", "")
	mustAgree(t, "a replica and an embedded service", a, one)
	mustAgree(t, "two replicas", a, b)
	for i := range 5 {
		click := fmt.Sprintf(`{"type":"interaction","id":"new%d","time":1700000900000,`+
			`"user":"u1","item":"i2","action":"purchase"}`, i)
		for _, s := range []*service{[]*service{a, b}[i%2], one} {
			if status, out := s.post(t, "/feedback", click); status != http.StatusOK ||
				out["accepted"] != 1.0 {
				t.Fatalf("status %d: %v", status, out)
			}
		}
		if _, out := []*service{b, a}[i%2].post(t, "/feedback", click); out["accepted"] != 1.0 {
			t.Fatalf("the other replica answers %v to the same event, want it accepted", out)
		}
	}
	mustAgree(t, "after feedback to both", a, one)
	mustAgree(t, "after feedback to both", b, one)
	for _, s := range []*service{a, b, one} {
		s.stop(t)
	}

	output(t, "snapshot", "--redis", url, "--out", at("s1"))
	output(t, "rebuild", "--redis", url, "--data", at("a"), "--log", at("b"))
	output(t, "snapshot", "--redis", url, "--out", at("s2"))
	server.Do("FLUSHALL")
	output(t, "rebuild", "--redis", url, "--data", at("a"), "--log", at("b"))
	output(t, "snapshot", "--redis", url, "--out", at("s3"))
	otherPrefix := server.URL() + "?prefix=other"
	output(t, "rebuild", "--redis", otherPrefix, "--from", at("s1"), "--data", at("none"))
	output(t, "snapshot", "--redis", otherPrefix, "--out", at("s4"))
	if diff := runPython(t, "same", at("s1"), at("s2"), at("s3"), at("s4")); diff != "" {
		t.Errorf("the snapshots differ:\n%s", diff)
	}
	output(t, "rebuild", "--from", at("s1"), "--data", at("other"))
	one, other := start("one", ""), start("other", "")
	mustAgree(t, "an embedded service and one from the snapshot", one, other)
}

// TestIngestKilled kills relish ingest again and again. Every message of the stream is in the log
// once.
func TestIngestKilled(t *testing.T) {
	server, dir := redistest.Start(t), filepath.Join(t.TempDir(), "d")
	conn, err := redisconn.Open(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const total = 6000
	pipe := conn.Pipeline()
	for i := range total {
		pipe.Do(t.Context(), "XADD", "events", "*", "event",
			fmt.Sprintf(`{"type":"interaction","id":"e%d","user":"u","item":"i","action":"click"}`,
				i))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	args := []string{"ingest", "--source", server.URL(), "--stream", "events", "--data", dir,
		"--no-text", "--batch", "20"}
	for round := range 3 {
		cmd := relish(t, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the next 500 messages are read", func() bool {
			groups, err := conn.XInfoGroups(t.Context(), "events").Result()
			return err == nil && len(groups) == 1 && groups[0].EntriesRead >= int64(500*(round+1))
		})
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	output(t, append(args, "--once")...)
	if p, err := conn.XPending(t.Context(), "events", "relish").Result(); err != nil ||
		p.Count != 0 {
		t.Errorf("%+v messages are pending: %v", p, err)
	}
	if records := countRecords(t, dir); records != total {
		t.Errorf("the log has %d records, want %d", records, total)
	}
}
