package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
)

// A plain copy of the log folder, taken while events stream in, must restore to a service that has
// every event acknowledged before the copy began (docs/operations.md).
func TestBackupWhileRunning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	s := serve(t, "--data", dir, "--no-text")
	send := func(worker, i int) {
		body := fmt.Sprintf(`{"type":"interaction","id":"w%d-%d","user":"u%d","item":"i%d","action":"click"}`, worker, i, worker, i)
		if status, out := s.post(t, "/feedback", body); status != http.StatusOK {
			t.Errorf("status %d: %v", status, out)
		}
	}
	const before = 200
	for i := range before {
		send(0, i)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				send(1, i)
			}
		}
	})
	backup := filepath.Join(t.TempDir(), "backup")
	err := os.CopyFS(filepath.Join(backup, "log"), os.DirFS(filepath.Join(dir, "log")))
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	s.stop(t)

	restored := serve(t, "--data", backup, "--no-text")
	status, answer := restored.post(t, "/recommend", `{"user_id":"u0","candidates":["i1","i2"]}`)
	if status != http.StatusOK || len(order(t, answer)) != 2 {
		t.Fatalf("the restored service answered %d: %v", status, answer)
	}
	restored.stop(t)
	m := regexp.MustCompile(`(\d+) records`).FindStringSubmatch(output(t, "doctor", "--data", backup, "--no-text"))
	if m == nil {
		t.Fatal("doctor names no records")
	}
	var records int
	fmt.Sscan(m[1], &records)
	if records < before {
		t.Errorf("%d events were acknowledged before the backup, it holds %d", before, records)
	}
}
