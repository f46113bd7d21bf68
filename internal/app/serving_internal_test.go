package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"relish/features/ingest"
	"relish/internal/config"
	"relish/ranker"
)

// A command beside a server says in which keys its configuration differs from the server's. Without
// a server, what an earlier one left says nothing.
func TestServerDiffers(t *testing.T) {
	data, server, own := t.TempDir(), config.Default(), config.Default()
	text, err := yaml.Marshal(servingConfig{"", server.State, server.Text, "digest"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, servingFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	unlock, err := ingest.Lock(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := ServerDiffers(data, own); got != "" {
		t.Errorf("equal configurations: %s", got)
	}
	own.State.Actions, own.State.Recent = []string{"buy"}, 7
	own.Text = ranker.TextSpec{"title"}
	got := ServerDiffers(data, own)
	if !strings.Contains(got, "other values of state.actions, state.recent, text;") {
		t.Errorf("got %q", got)
	}
	unlock()
	if got := ServerDiffers(data, own); got != "" {
		t.Errorf("without a server: %s", got)
	}
}
