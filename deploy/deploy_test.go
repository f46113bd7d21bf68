// Package deploy has no code. Its files run Relish: a compose file, Kubernetes manifests, alert
// rules and a dashboard. Its tests check them against the real binary and against each other: every
// flag exists, every metric is exposed, and every name that one file uses is declared in another.
package deploy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"relish/internal/redistest"
)

// binary is relish, built once for all tests.
var binary string

func TestMain(m *testing.M) { os.Exit(build(m)) }

// build builds the binary and runs the tests.
func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "deploy")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "relish")
	compile := exec.Command("go", "build", "-o", binary, "relish/cmd/relish")
	if out, err := compile.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building relish: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// read returns the content of a file.
func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// documents reads all documents of a YAML file. It converts them to JSON first, whose decoder
// matches names in any case. Fields that T lacks are ignored.
func documents[T any](t *testing.T, path string) []T {
	t.Helper()
	dec := yaml.NewDecoder(strings.NewReader(read(t, path)))
	var out []T
	for {
		var raw any
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return out
		}
		var v T
		var data []byte
		if err == nil {
			data, err = json.Marshal(raw)
		}
		if err == nil {
			err = json.Unmarshal(data, &v)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out = append(out, v)
	}
}

// server is a running relish serve.
type server struct {
	url   string
	redis *redistest.Server
}

var listening = regexp.MustCompile(`serves on (http://[^ ]+)`)

// start runs relish serve with a new data folder, its own Redis and this environment.
func start(t *testing.T, environment map[string]string) *server {
	t.Helper()
	s := &server{redis: redistest.Start(t)}
	assets, err := filepath.Abs("../.cache")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "serve", "--addr", "127.0.0.1:0",
		"--data", filepath.Join(t.TempDir(), "d"), "--redis", s.redis.URL(),
		"--assets", assets, "--device", "cpu", "--max-log-bytes", "100000")
	cmd.Env = os.Environ()
	for k, v := range environment {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var output bytes.Buffer
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			s.url = m[1]
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return s
		}
		output.WriteString(lines.Text() + "\n")
	}
	t.Fatalf("relish serve ended before it listened:\n%s", output.String())
	return nil
}

// get sends a GET request.
func (s *server) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(s.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// post sends a JSON body.
func (s *server) post(t *testing.T, path, body string) (status int, answer string) {
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
	return resp.StatusCode, string(data)
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}
