package embeddings

import "testing"

// A key's slot has its vector or that of another key, never a wrong one, and the memory is bounded.
func TestRecentVectors(t *testing.T) {
	for _, c := range []struct{ most, slots int64 }{{-1, 0}, {0, 0}, {1, 1}, {7, 4}, {64, 64}} {
		r := newRecentVectors(c.most)
		if n := int64(len(r.slots)); n != c.slots {
			t.Errorf("at most %d slots: %d slots, want %d", c.most, n, c.slots)
		}
		for key := range uint64(100) {
			if r.get(key) != nil {
				t.Fatalf("%d slots: key %d has a vector that nobody put", c.slots, key)
			}
			r.put(key, []float32{float32(key)})
		}
		kept := int64(0)
		for key := range uint64(100) {
			if v := r.get(key); v != nil {
				kept++
				if v[0] != float32(key) {
					t.Errorf("%d slots: key %d has the vector %v", c.slots, key, v)
				}
			}
		}
		if kept != c.slots {
			t.Errorf("%d of %d slots are used after 100 keys", kept, c.slots)
		}
	}
	r := newRecentVectors(1)
	r.put(1, []float32{1})
	for i := 0; r.get(2) == nil; i++ {
		if i > 100*replaceOneIn {
			t.Fatal("a key never takes over the slot of another one")
		}
		r.put(2, []float32{2})
	}
}
