package hub_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/embeddings/hub"
	"relish/internal/sha256sums"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const commit = "0123456789abcdef0123456789abcdef01234567"

// hubServer serves the repository acme/tiny as the hub does.
type hubServer struct {
	*httptest.Server
	mu      sync.Mutex
	commit  string
	files   map[string][]byte
	sums    map[string]string // file -> SHA-256 to state instead of the true one
	cut     map[string]int    // file -> bytes after which the connection breaks, once
	fetched map[string]int
	ranges  []string
	token   string
}

func serve(t *testing.T) *hubServer {
	h := &hubServer{
		commit:  commit,
		sums:    map[string]string{},
		cut:     map[string]int{},
		fetched: map[string]int{},
		files: map[string][]byte{
			"onnx/model.onnx":       bytes.Repeat([]byte("weights "), 10_000),
			"tokenizer.json":        []byte(`{"version":"1.0"}`),
			"modules.json":          []byte(`[]`),
			"1_Pooling/config.json": []byte(`{}`),
			"README.md":             []byte("not needed"),
			"pytorch_model.bin":     []byte("not needed"),
		},
	}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return h
}

func (h *hubServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.token != "" && r.Header.Get("Authorization") != "Bearer "+h.token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/api/models/acme/tiny/revision/") {
		fmt.Fprintf(w, `{"sha":%q,"siblings":[`, h.commit)
		sep := ""
		for name, data := range h.files {
			fmt.Fprintf(w, `%s{"rfilename":%q,"size":%d`, sep, name, len(data))
			if strings.HasSuffix(name, ".onnx") {
				sum := sha256.Sum256(data)
				hexSum := hex.EncodeToString(sum[:])
				if h.sums[name] != "" {
					hexSum = h.sums[name]
				}
				fmt.Fprintf(w, `,"lfs":{"sha256":%q,"size":%d}`, hexSum, len(data))
			}
			fmt.Fprint(w, "}")
			sep = ","
		}
		fmt.Fprint(w, "]}")
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/acme/tiny/resolve/"+h.commit+"/")
	data, known := h.files[name]
	if !ok || !known {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	h.fetched[name]++
	if rng := r.Header.Get("Range"); rng != "" {
		h.ranges = append(h.ranges, name+" "+rng)
	}
	if n := h.cut[name]; n > 0 {
		delete(h.cut, name)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:n])
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func pull(t *testing.T, h *hubServer, dir string) error {
	t.Helper()
	return hub.Pull(t.Context(), hub.Options{Endpoint: h.URL, Name: "acme/tiny", Dir: dir})
}

// checkFolder checks that dir holds the files of an encoder, and no others.
func checkFolder(t *testing.T, dir string, h *hubServer) {
	t.Helper()
	for to, from := range map[string]string{
		"model.onnx":            "onnx/model.onnx",
		"tokenizer.json":        "tokenizer.json",
		"modules.json":          "modules.json",
		"1_Pooling/config.json": "1_Pooling/config.json",
	} {
		got, err := os.ReadFile(filepath.Join(dir, to))
		if err != nil || !bytes.Equal(got, h.files[from]) {
			t.Errorf("%s: %v", to, err)
		}
	}
	sums, err := sha256sums.Read(dir)
	if err != nil || len(sums) != 4 || sums.Check("model.onnx", h.files["onnx/model.onnx"]) != nil {
		t.Errorf("SHA256SUMS has %v, %v", sums, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "pytorch_model.bin")); err == nil {
		t.Error("a file was downloaded that no encoder needs")
	}
}

func checkAbsent(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder exists although Pull failed")
	}
}

func TestPull(t *testing.T) {
	h, dir := serve(t), filepath.Join(t.TempDir(), "enc")
	progress := map[string]int64{}
	err := hub.Pull(t.Context(), hub.Options{
		Endpoint: h.URL + "/",
		Name:     "acme/tiny",
		Dir:      dir,
		Progress: func(f string, done, _ int64) { progress[f] = done },
	})
	if err != nil {
		t.Fatal(err)
	}
	checkFolder(t, dir, h)
	if progress["onnx/model.onnx"] != int64(len(h.files["onnx/model.onnx"])) {
		t.Errorf("progress %v", progress)
	}
	before := h.fetched["onnx/model.onnx"]
	if err := pull(t, h, dir); err != nil || h.fetched["onnx/model.onnx"] != before {
		t.Errorf("a second Pull downloaded the model again (%v)", err)
	}
	h.commit = strings.Repeat("f", 40)
	h.files["tokenizer.json"] = []byte(`{"version":"2.0"}`)
	if err := pull(t, h, dir); err != nil {
		t.Fatal(err)
	}
	checkFolder(t, dir, h) // the new revision has replaced the old one
}

func TestResume(t *testing.T) {
	h, dir := serve(t), filepath.Join(t.TempDir(), "enc")
	h.cut["onnx/model.onnx"] = 30_000
	if err := pull(t, h, dir); err == nil {
		t.Fatal("Pull succeeded although the connection broke")
	}
	checkAbsent(t, dir)
	if err := pull(t, h, dir); err != nil {
		t.Fatal(err)
	}
	checkFolder(t, dir, h)
	if len(h.ranges) != 1 || !strings.HasPrefix(h.ranges[0], "onnx/model.onnx bytes=") ||
		h.ranges[0] == "onnx/model.onnx bytes=0-" {
		t.Errorf("ranges %v, want one that starts after the bytes that were there", h.ranges)
	}
}

func TestDamagedFile(t *testing.T) {
	h, dir := serve(t), filepath.Join(t.TempDir(), "enc")
	h.sums["onnx/model.onnx"] = strings.Repeat("0", 64)
	if err := pull(t, h, dir); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Fatalf("error %v", err)
	}
	checkAbsent(t, dir)
	delete(h.sums, "onnx/model.onnx")
	if err := pull(t, h, dir); err != nil { // it starts again, and does not resume the damaged file
		t.Fatal(err)
	}
	checkFolder(t, dir, h)
}

func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*hubServer, *hub.Options)
		want   string
	}{
		"no model": {func(h *hubServer, _ *hub.Options) { delete(h.files, "onnx/model.onnx") },
			"export the model to ONNX"},
		"no tokenizer": {func(h *hubServer, _ *hub.Options) { delete(h.files, "tokenizer.json") },
			"no tokenizer.json"},
		"unknown name": {func(_ *hubServer, o *hub.Options) { o.Name = "acme/other" },
			"not found on the hub at revision main"},
		"private":   {func(h *hubServer, _ *hub.Options) { h.token = "secret" }, "HF_TOKEN"},
		"no owner":  {func(_ *hubServer, o *hub.Options) { o.Name = "tiny" }, "OWNER/MODEL"},
		"traversal": {func(_ *hubServer, o *hub.Options) { o.Name = "../../etc" }, "OWNER/MODEL"},
		"no commit": {func(h *hubServer, _ *hub.Options) { h.commit = "../../up" },
			"which is not a hash"},
		"no server": {func(_ *hubServer, o *hub.Options) { o.Endpoint = "http://127.0.0.1:1" },
			"HF_ENDPOINT"},
		"no hub": {func(_ *hubServer, o *hub.Options) {
			o.Endpoint = o.Endpoint + "/acme/tiny/resolve/x"
		}, "not found on the hub at revision main"},
		"wrong password": {func(h *hubServer, o *hub.Options) {
			h.token, o.Token = "secret", "wrong-secret"
		}, "HF_TOKEN"},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t)
			opt := hub.Options{
				Endpoint: h.URL,
				Name:     "acme/tiny",
				Dir:      filepath.Join(t.TempDir(), "enc"),
			}
			c.change(h, &opt)
			err := hub.Pull(t.Context(), opt)
			if err == nil || !strings.Contains(err.Error(), c.want) ||
				strings.Contains(err.Error(), "wrong-secret") {
				t.Errorf("error %v, want one with %q and without the token", err, c.want)
			}
			checkAbsent(t, opt.Dir)
		})
	}
}

func TestTokenAndEnvironment(t *testing.T) {
	h, dir := serve(t), filepath.Join(t.TempDir(), "enc")
	h.token = "secret"
	t.Setenv("HF_ENDPOINT", h.URL)
	t.Setenv("HF_TOKEN", "secret")
	if err := hub.Pull(t.Context(), hub.Options{Name: "acme/tiny", Dir: dir}); err != nil {
		t.Fatal(err)
	}
	checkFolder(t, dir, h)
}

func TestCancel(t *testing.T) {
	h, dir := serve(t), filepath.Join(t.TempDir(), "enc")
	ctx, cancel := context.WithCancel(t.Context())
	err := hub.Pull(ctx, hub.Options{
		Endpoint: h.URL,
		Name:     "acme/tiny",
		Dir:      dir,
		Progress: func(string, int64, int64) { cancel() },
	})
	if err == nil {
		t.Error("a cancelled Pull succeeded")
	}
	checkAbsent(t, dir)
}
