package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests drive the real binary: this test binary, started again as relish.
func TestMain(m *testing.M) {
	if os.Getenv("RELISH_TEST_MAIN") == "1" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func relish(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	assets, err := filepath.Abs("../../.cache")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RELISH_TEST_MAIN=1", "RELISH_ASSETS="+assets)
	return cmd
}

// output runs a command that must succeed and returns what it printed.
func output(t *testing.T, args ...string) string {
	t.Helper()
	cmd := relish(t, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("relish %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// service is a running relish serve.
type service struct {
	url string
	cmd *exec.Cmd
}

var listening = regexp.MustCompile(`serves on (http://[^ ]+)`)

func serve(t *testing.T, args ...string) *service {
	t.Helper()
	cmd := relish(t, append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	url := make(chan string, 1)
	var seen bytes.Buffer
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				url <- m[1]
			} else {
				seen.WriteString(lines.Text() + "\n")
			}
		}
		close(url)
	}()
	select {
	case u, ok := <-url:
		if !ok {
			t.Fatalf("serve ended before it listened:\n%s", seen.String())
		}
		return &service{url: u, cmd: cmd}
	case <-time.After(60 * time.Second):
		t.Fatal("serve did not come up within a minute")
		return nil
	}
}

func (s *service) post(t *testing.T, path, body string) (int, map[string]any) {
	t.Helper()
	resp, err := http.Post(s.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%s: %v: %s", path, err, data)
	}
	return resp.StatusCode, out
}

// stop ends the service gently and checks that it says so with exit status 0.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("serve ended with %v after SIGTERM", err)
	}
}

func order(t *testing.T, answer map[string]any) []string {
	t.Helper()
	items, ok := answer["items"].([]any)
	if !ok {
		t.Fatalf("no items in %v", answer)
	}
	var ids []string
	for _, it := range items {
		ids = append(ids, it.(map[string]any)["id"].(string))
	}
	return ids
}

// The whole way of a newcomer: demo, serve, rank, click, rank again, restart, evaluate.
func TestDemoToRanking(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	output(t, "demo", "--data", dir, "--users", "40", "--lists", "300")
	if again := output(t, "demo", "--data", dir); !strings.Contains(again, "already") {
		t.Errorf("a second demo said %q", again)
	}
	s := serve(t, "--data", dir)
	status, items := s.post(t, "/recommend", `{"user_id":"newcomer","candidates":[{"id":"new-1","title":"Sourdough at sea","text":"Baking bread on a small sailing boat."},{"id":"new-2","title":"Tax law","text":"Deductions for small companies."}],"context":{"query":"bread baking"},"deadline_ms":5000}`)
	if status != http.StatusOK {
		t.Fatalf("status %d: %v", status, items)
	}
	if got := order(t, items); got[0] != "new-1" {
		t.Errorf("a query for bread put %v first", got)
	}
	if d := items["degraded"].([]any); len(d) != 0 {
		t.Errorf("degraded %v", d)
	}
	second := relish(t, "import", "--data", dir, "-")
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), fmt.Sprint(s.cmd.Process.Pid)) {
		t.Errorf("a second writer must be refused naming the holder; got %v: %s", err, out)
	}
	output(t, "doctor", "--data", dir)
	s.stop(t)

	var table struct {
		Rows []struct {
			Scorer, Slice string
			NDCG          struct{ Mean float64 }
		}
	}
	if err := json.Unmarshal([]byte(output(t, "evaluate", "--data", dir, "--last", "0.3", "--prequential", "--json")), &table); err != nil {
		t.Fatal(err)
	}
	ndcg := map[string]float64{}
	for _, r := range table.Rows {
		if r.Slice == "all" {
			ndcg[r.Scorer] = r.NDCG.Mean
		}
	}
	if ndcg["prior"] <= ndcg["random"] {
		t.Errorf("the prior reached %.3f, chance %.3f", ndcg["prior"], ndcg["random"])
	}
}

// Every event that was acknowledged must be there after kill -9, however often.
func TestKillLosesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	acked := 0
	for round := range 5 {
		s := serve(t, "--data", dir, "--no-text")
		stop := time.Now().Add(300 * time.Millisecond)
		for i := 0; time.Now().Before(stop); i++ {
			body := fmt.Sprintf(`{"type":"interaction","id":"r%d-%d","user":"u","item":"i","action":"click"}`, round, i)
			status, out := s.post(t, "/feedback", body)
			if status != http.StatusOK || out["accepted"].(float64) != 1 {
				t.Fatalf("status %d: %v", status, out)
			}
			acked++
		}
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	out := output(t, "doctor", "--data", dir, "--no-text")
	m := regexp.MustCompile(`(\d+) records`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("doctor printed %s", out)
	}
	var records int
	fmt.Sscan(m[1], &records)
	if records < acked {
		t.Errorf("%d events were acknowledged, %d are in the log", acked, records)
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "relish.yaml")
	if err := os.WriteFile(bad, []byte("addr: 127.0.0.1:1\nnonsense: 1\nstate: {actionz: []}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		exit int
		says []string
	}{
		{"no command", nil, 2, []string{"expected one of"}},
		{"unknown flag", []string{"serve", "--nope"}, 2, []string{"--nope"}},
		{"open by accident", []string{"serve", "--addr", "0.0.0.0:0", "--data", dir}, 2, []string{"--open"}},
		{"bad config", []string{"--config", bad, "version"}, 2, []string{"nonsense", "actionz"}},
		{"missing file", []string{"import", "--data", dir, "--no-text", "absent.jsonl"}, 1, []string{"absent.jsonl"}},
		{"empty log", []string{"evaluate", "--data", dir, "--no-text"}, 1, []string{"import"}},
		{"version", []string{"version"}, 0, []string{"relish"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := relish(t, c.args...).CombinedOutput()
			exit := 0
			if ee, ok := err.(*exec.ExitError); ok {
				exit = ee.ExitCode()
			}
			if exit != c.exit {
				t.Errorf("exit status %d, want %d: %s", exit, c.exit, out)
			}
			for _, s := range c.says {
				if !strings.Contains(string(out), s) {
					t.Errorf("output lacks %q: %s", s, out)
				}
			}
		})
	}
}
