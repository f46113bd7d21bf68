package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// clickEvent is a click of a worker's user. The id makes it unique.
func clickEvent(worker, i int) string {
	const format = `{"type":"interaction","id":"w%d-%d","user":"u%d","item":"i%d","action":"click"}`
	return fmt.Sprintf(format, worker, i, worker, i)
}

// countRecords returns how many records doctor finds in a data folder.
func countRecords(t *testing.T, data string) int {
	t.Helper()
	out := output(t, "doctor", "--data", data, "--no-text")
	match := regexp.MustCompile(`(\d+) records`).FindStringSubmatch(out)
	if match == nil {
		t.Fatalf("doctor names no records: %s", out)
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKillLosesNothing kills the service again and again while four clients send events. The log
// has every event that was acknowledged.
func TestKillLosesNothing(t *testing.T) {
	const rounds, clients, eventsPerRound = 5, 4, 100
	data := filepath.Join(t.TempDir(), "d")
	var acknowledged atomic.Int64
	for round := range rounds {
		s := serve(t, "--data", data, "--no-text")
		enough := make(chan struct{})
		var once sync.Once
		var sending sync.WaitGroup
		for client := range clients {
			sending.Go(func() {
				for i := 0; ; i++ {
					status, _, err := s.request(http.MethodPost, "/feedback",
						clickEvent(clients*round+client, i))
					if err != nil {
						return // the service was killed
					}
					if status != http.StatusOK {
						t.Errorf("/feedback answers %d", status)
						once.Do(func() { close(enough) })
						return
					}
					if acknowledged.Add(1) >= int64(eventsPerRound*(round+1)) {
						once.Do(func() { close(enough) })
					}
				}
			})
		}
		<-enough
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		sending.Wait()
	}
	if records := countRecords(t, data); records < int(acknowledged.Load()) {
		t.Errorf("%d events were acknowledged, the log has %d", acknowledged.Load(), records)
	}
}

// TestBackupWhileRunning copies the log folder while events stream in. The copy restores to a
// service that has every event acknowledged before the copy began (docs/operations.md).
func TestBackupWhileRunning(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	s := serve(t, "--data", data, "--no-text")
	send := func(worker, i int) {
		status, answer := s.post(t, "/feedback", clickEvent(worker, i))
		if status != http.StatusOK {
			t.Errorf("/feedback answers %d: %v", status, answer)
		}
	}
	const before = 200
	for i := range before {
		send(0, i)
	}
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
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
	err := os.CopyFS(filepath.Join(backup, "log"), os.DirFS(filepath.Join(data, "log")))
	close(stop)
	sending.Wait()
	if err != nil {
		t.Fatal(err)
	}
	s.stop(t)

	restored := serve(t, "--data", backup, "--no-text")
	status, answer := restored.post(t, "/recommend",
		`{"user_id":"u0","candidates":["i1","i2"],"deadline_ms":10000}`)
	if status != http.StatusOK || len(order(t, answer)) != 2 {
		t.Fatalf("the restored service answers %d: %v", status, answer)
	}
	restored.stop(t)
	if records := countRecords(t, backup); records < before {
		t.Errorf("%d events were acknowledged before the backup, it has %d", before, records)
	}
}
