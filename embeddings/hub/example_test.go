package hub_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"relish/embeddings/hub"
)

// Pull downloads the model and its tokenizer from a hub. The hub is a test server with one
// repository here.
func ExamplePull() {
	files := map[string]string{"model.onnx": "a model", "tokenizer.json": "{}"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/models/") {
			fmt.Fprint(w, `{"sha": "0123456789abcdef", "siblings": [
				{"rfilename": "model.onnx", "size": 7},
				{"rfilename": "tokenizer.json", "size": 2}]}`)
			return
		}
		fmt.Fprint(w, files[filepath.Base(r.URL.Path)])
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	parent, err := os.MkdirTemp("", "encoders")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(parent)

	dir := filepath.Join(parent, "tiny")
	err = hub.Pull(context.Background(), hub.Options{
		Endpoint: server.URL, Name: "acme/tiny", Dir: dir,
	})
	if err != nil {
		panic(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		fmt.Println(e.Name())
	}
	// Output:
	// SHA256SUMS
	// model.onnx
	// revision
	// tokenizer.json
}
