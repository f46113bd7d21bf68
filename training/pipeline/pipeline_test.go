package pipeline_test

import (
	"strings"
	"testing"

	"relish/training/pipeline"
)

// TestRunChecksItsOptions: a missing option is an error at the start, not a panic hours later.
func TestRunChecksItsOptions(t *testing.T) {
	root := t.TempDir()
	_, err := pipeline.Run(t.Context(), pipeline.Options{Root: root, Logs: []string{root}})
	if err == nil || !strings.Contains(err.Error(), "Verify must be set") {
		t.Errorf("got %v, want an error that names the required options", err)
	}
}
