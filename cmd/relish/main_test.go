package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The tests run the real command: a child process is this test binary, which behaves as relish if
// the environment says so. Children of the child, which read untrusted files, inherit the variable.
const testMainVariable = "RELISH_TEST_MAIN"

func TestMain(m *testing.M) {
	relish := func() { os.Exit(run(os.Args[1:])) }
	if os.Getenv(testMainVariable) == "1" {
		relish()
	}
	testscript.Main(m, map[string]func(){"relish": relish})
}

// assets is the folder of the native libraries and the encoders.
func assets(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../.cache")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// relish returns a command that runs relish with the arguments.
func relish(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), testMainVariable+"=1", "RELISH_ASSETS="+assets(t))
	return cmd
}

// output runs a command that must succeed, and returns its standard output.
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

// mustFail runs a command that must fail with the exit status, and returns its output.
func mustFail(t *testing.T, status int, args ...string) string {
	t.Helper()
	out, err := relish(t, args...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != status {
		t.Fatalf("relish %s: %v, want exit status %d: %s", strings.Join(args, " "), err, status,
			out)
	}
	return string(out)
}

// patience bounds how long a test waits for something that happens soon, on a busy machine too.
const patience = 2 * time.Minute

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// safeBuffer collects the output of a running process. It is safe for concurrent use.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns the output so far.
func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// service is a running relish serve.
type service struct {
	url string
	cmd *exec.Cmd
}

var listening = regexp.MustCompile(`serves on (http://[^ ]+)`)

// serve starts relish serve on a free port. The test kills it at its end.
func serve(t *testing.T, args ...string) *service {
	t.Helper()
	cmd := relish(t, append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	s, err := start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return s
}

// start starts a relish serve command and waits until it listens.
func start(cmd *exec.Cmd) (*service, error) {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	url := make(chan string, 1)
	var log safeBuffer
	go func() {
		defer close(url)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				url <- m[1]
			}
			_, _ = log.Write(append(lines.Bytes(), '\n'))
		}
	}()
	select {
	case u, ok := <-url:
		if !ok {
			err := errors.New("relish serve ended before it listened:\n" + log.String())
			return nil, errors.Join(err, cmd.Wait())
		}
		return &service{url: u, cmd: cmd}, nil
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		return nil, errors.New("relish serve does not listen:\n" + log.String())
	}
}

// request sends a request with a JSON body, which may be empty, and returns the answer.
func (s *service) request(method, path, body string) (status int, answer []byte, err error) {
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

func (s *service) post(t *testing.T, path, body string) (int, map[string]any) {
	t.Helper()
	status, data, err := s.request(http.MethodPost, path, body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%s: %v: %s", path, err, data)
	}
	return status, out
}

func (s *service) get(t *testing.T, path string) (int, string) {
	t.Helper()
	status, data, err := s.request(http.MethodGet, path, "")
	if err != nil {
		t.Fatal(err)
	}
	return status, string(data)
}

// stop ends the service as an operator does, and checks that its exit status is 0.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("relish serve ended with %v after SIGTERM", err)
	}
}

// order returns the ids of an answer's items, best first.
func order(t *testing.T, answer map[string]any) []string {
	t.Helper()
	items, ok := answer["items"].([]any)
	if !ok {
		t.Fatalf("no items in %v", answer)
	}
	var ids []string
	for _, item := range items {
		ids = append(ids, item.(map[string]any)["id"].(string))
	}
	return ids
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
