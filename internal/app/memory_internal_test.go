package app

import "testing"

func TestHeapLimit(t *testing.T) {
	for process, want := range map[int64]int64{
		256 << 20: 128 << 20,
		512 << 20: 256 << 20,
		2 << 30:   2<<30 - 256<<20,
	} {
		if got := heapLimit(process); got != want {
			t.Errorf("a process of %d bytes: a heap of %d, want %d", process, got, want)
		}
	}
}
