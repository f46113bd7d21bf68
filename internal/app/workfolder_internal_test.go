package app

import (
	"os"
	"path/filepath"
	"testing"
)

// A work folder lies in the data folder. It survives the start of another process, and is removed
// by its own; that of a killed process is removed by the next one.
func TestWorkFolder(t *testing.T) {
	data := t.TempDir()
	folders := func() (dirs []string) {
		dirs, err := filepath.Glob(filepath.Join(data, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return dirs
	}
	killed := filepath.Join(data, "work.tmp-1")
	if err := os.Mkdir(killed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed, "lock"), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	var removes []func()
	for range 2 {
		dir, remove, err := newWorkFolder(data)
		if err != nil || filepath.Dir(dir) != data {
			t.Fatalf("%s, %v", dir, err)
		}
		removes = append(removes, remove)
	}
	if got := folders(); len(got) != 2 || got[0] == killed || got[1] == killed {
		t.Errorf("%v is left while two processes work", got)
	}
	for _, remove := range removes {
		remove()
	}
	if got := folders(); len(got) > 0 {
		t.Errorf("%v is left", got)
	}
}
