package plural_test

import (
	"testing"

	"relish/internal/plural"
)

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 events", 1: "1 event", 2: "2 events"} {
		if got := plural.Count(n, "event"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
