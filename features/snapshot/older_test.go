package snapshot_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"relish/features"
	"relish/features/snapshot"
	"relish/features/storetest"
)

// The snapshot testdata/v1 has the format before counts of newcomers: three events, on two items of
// one user. It is read, and what is read can be written in the present format.
func TestOlderVersionIsRead(t *testing.T) {
	load := func(dir string) *features.State {
		d, err := snapshot.Load(dir, features.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		s, err := d.State(replica)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := load(filepath.Join("testdata", "v1"))
	if items, users, _ := s.Sizes(); items != 2 || users != 1 || s.Seq() != 3 {
		t.Errorf("%d items and %d users as of record %d, want 2, 1 and 3", items, users, s.Seq())
	}
	dir := filepath.Join(t.TempDir(), "snap")
	if _, err := snapshot.Write(dir, s.Dump(replica)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(storetest.Bytes(load(dir)), storetest.Bytes(s)) {
		t.Error("the state differs after it was written in the present format")
	}
}
