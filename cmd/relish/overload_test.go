package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// memoryLimit is that of a small container.
const memoryLimit = 512 << 20

// inMemoryLimit makes a command run in a memory control group of memoryLimit, where the test may
// create one. The kernel kills what exceeds it.
func inMemoryLimit(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	group := fmt.Sprintf("/sys/fs/cgroup/memory/relish-test-%d", os.Getpid())
	limit := filepath.Join(group, "memory.limit_in_bytes")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Logf("no control group, only the peak is checked: %v", err)
		return cmd
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	if err := os.WriteFile(limit, []byte(strconv.Itoa(memoryLimit)), 0o600); err != nil {
		t.Logf("no memory limit, only the peak is checked: %v", err)
		return cmd
	}
	enter := `echo $$ > "$0/cgroup.procs" && exec "$@"`
	limited := exec.Command("sh", append([]string{"-c", enter, group}, cmd.Args...)...)
	limited.Env = cmd.Env
	return limited
}

// peakMemory returns the most memory that a process has had at once.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status := readFile(t, fmt.Sprintf("/proc/%d/status", pid))
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(status)
	if match == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kb, err := strconv.Atoi(match[1])
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// TestMemoryUnderAbuse sends what takes a lot of memory: large bodies of events, fields and texts
// at once, bodies that do not end, and idle connections. The service stays within half a gigabyte
// and ranks afterwards.
func TestMemoryUnderAbuse(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	cmd := relish(t, "serve", "--addr", "127.0.0.1:0", "--data", data, "--log-level", "error")
	cmd = inMemoryLimit(t, cmd)
	s, err := start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	address := strings.TrimPrefix(s.url, "http://")
	for i := range 500 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 { // half of them announce a body and send a part
			fmt.Fprintf(conn, "POST /feedback HTTP/1.1\r\nHost: x\r\n"+
				"Content-Type: application/json\r\nContent-Length: 8000000\r\n\r\n[%s",
				strings.Repeat(" ", 100_000))
		}
	}
	statuses := abuse(t, s)
	if statuses["200"] == 0 || statuses["503"] == 0 || len(statuses) > 3 ||
		statuses["200"]+statuses["503"]+statuses["413"] != 120 {
		t.Errorf("the answers were %v, want 200, 413 and 503", statuses)
	}
	var status int
	eventually(t, "an ordinary ranking", func() bool {
		status, _ = s.post(t, "/recommend", `{"user_id":"u","candidates":["a","b"]}`)
		return status == http.StatusOK
	})
	peak := peakMemory(t, cmd.Process.Pid)
	t.Logf("answers %v, most memory %d MiB", statuses, peak>>20)
	if peak > memoryLimit {
		t.Errorf("the service took %d MiB", peak>>20)
	}
}

// abuse sends 120 large requests, 40 at once, and returns how many got each status.
func abuse(t *testing.T, s *service) map[string]int {
	t.Helper()
	repeat := func(part string, size int) string {
		return strings.TrimSuffix(strings.Repeat(part, size/len(part)), ",")
	}
	var fields, candidates strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&fields, `"%x":1,`, i)
	}
	for i := range 5000 {
		fmt.Fprintf(&candidates, `{"id":"c%d","text":"%d %s"},`, i, i, repeat("text ", 1400))
	}
	const size = 7_900_000
	event := `{"type":"user","id":"a","user":"u","fields":{"a":1}},`
	bodies := []struct{ path, body string }{
		{"/feedback", "[" + repeat(event, size) + "]"},
		{"/feedback", `{"type":"item","id":"a","item":"i","text":"` + repeat("x", size) + `"}`},
		{"/items", `{"id":"i","fields":{` + strings.TrimSuffix(fields.String(), ",") + `}}`},
		{"/recommend", `{"user_id":"u","deadline_ms":2000,"candidates":[` +
			strings.TrimSuffix(candidates.String(), ",") + `]}`},
	}
	var mu sync.Mutex
	statuses := map[string]int{}
	var next atomic.Int64
	var sending sync.WaitGroup
	for range 40 {
		sending.Go(func() {
			for i := next.Add(1) - 1; i < 120; i = next.Add(1) - 1 {
				b := bodies[i%int64(len(bodies))]
				method := http.MethodPost
				if b.path == "/items" {
					method = http.MethodPut
				}
				status := sendAll(t, s, method, b.path, b.body)
				mu.Lock()
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	sending.Wait()
	return statuses
}

// sendAll sends a request, and returns the status of the answer. The server may answer and close
// the connection before it has read everything; an ordinary client may then see a broken
// connection.
func sendAll(t *testing.T, s *service, method, path, body string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", method, path, len(body))
		_, _ = io.WriteString(conn, body)
	}()
	head := make([]byte, len("HTTP/1.1 200"))
	_, err = io.ReadFull(conn, head)
	conn.Close()
	<-sent
	if err != nil {
		return "503" // refused, and the rest of the body reset the connection
	}
	return string(head[len("HTTP/1.1 "):])
}

// TestStopUnderLoad ends the service while clients send events and rankings. It exits with 0, and
// every acknowledged event is in the log.
func TestStopUnderLoad(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	s := serve(t, "--data", data, "--no-text")
	var acknowledged atomic.Int64
	enough := make(chan struct{})
	var once sync.Once
	var sending sync.WaitGroup
	for client := range 8 {
		sending.Go(func() {
			for i := 0; ; i++ {
				path, body := "/feedback", clickEvent(client, i)
				if client%2 == 1 {
					path, body = "/recommend", `{"user_id":"u","candidates":["i1","i2"]}`
				}
				status, answer, err := s.request(http.MethodPost, path, body)
				if err != nil {
					return // the service has stopped
				}
				if status != http.StatusOK {
					t.Errorf("%s answers %d: %s", path, status, answer)
					return
				}
				if path == "/feedback" && acknowledged.Add(1) == 200 {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	<-enough
	s.stop(t)
	sending.Wait()
	if records := countRecords(t, data); records < int(acknowledged.Load()) {
		t.Errorf("%d events were acknowledged, the log has %d", acknowledged.Load(), records)
	}
}
