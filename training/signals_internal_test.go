package training

import (
	"strings"
	"testing"
)

// TestUnknownSignalKind: a kind without a trainer is an error that names it.
func TestUnknownSignalKind(t *testing.T) {
	_, err := new(signalTrainer).trainKind(t.Context(), "telepathy", nil)
	if err == nil || !strings.Contains(err.Error(), `"telepathy"`) {
		t.Errorf("got %v, want an error that names the kind", err)
	}
}
