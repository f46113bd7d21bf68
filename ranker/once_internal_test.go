package ranker

import "testing"

// Signals that ask with the same key share a value, which is computed once for each request.
func TestValueIsComputedOncePerRequest(t *testing.T) {
	computed := 0
	ask := func(in *SignalInput, key any) int {
		return OncePerRequest(in, key, func() int {
			computed++
			return computed
		})
	}
	in := &SignalInput{shared: &requestCache{}}
	for _, step := range []struct{ key, want int }{{1, 1}, {1, 1}, {2, 2}, {2, 2}, {1, 3}} {
		if got := ask(in, step.key); got != step.want {
			t.Errorf("key %d: value %d, want %d", step.key, got, step.want)
		}
	}
	before := computed
	ask(&SignalInput{shared: &requestCache{}}, 1)
	if computed == before {
		t.Error("two requests share a value")
	}
}
