package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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

var kills = flag.Int("kills", 5, "how often the durability tests kill the service")

// sender sends events from several clients, and counts those that were acknowledged.
type sender struct {
	t            *testing.T
	acknowledged atomic.Int64
	round        int
}

// sendAndKill sends events until enough more are acknowledged, or one is refused with the status
// until. Then it kills the service, under load. refused says whether an event was refused.
func (d *sender) sendAndKill(s *service, enough int64, until int) (refused bool) {
	const clients = 4
	target := d.acknowledged.Load() + enough
	stop := make(chan struct{})
	var once sync.Once
	var sawRefusal atomic.Bool
	var sending sync.WaitGroup
	for client := range clients {
		sending.Go(func() {
			for i := 0; ; i++ {
				status, _, err := s.request(http.MethodPost, "/feedback",
					clickEvent(clients*d.round+client, i))
				switch {
				case err != nil:
					return // the service was killed
				case status == http.StatusOK:
					if d.acknowledged.Add(1) >= target {
						once.Do(func() { close(stop) })
					}
				case status == until:
					sawRefusal.Store(true)
					once.Do(func() { close(stop) })
				default:
					d.t.Errorf("/feedback answers %d", status)
					once.Do(func() { close(stop) })
					return
				}
			}
		})
	}
	<-stop
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	sending.Wait()
	d.round++
	return sawRefusal.Load()
}

// check fails unless the log has every event that was acknowledged.
func (d *sender) check(data string) {
	d.t.Helper()
	acknowledged := d.acknowledged.Load()
	if records := countRecords(d.t, data); records < int(acknowledged) {
		d.t.Errorf("%d events were acknowledged, the log has %d", acknowledged, records)
	}
	d.t.Logf("%d kills, %d events acknowledged", d.round, acknowledged)
}

// TestKillLosesNothing kills the service again and again while four clients send events. The log
// has every event that was acknowledged.
func TestKillLosesNothing(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	d := sender{t: t}
	for range *kills {
		d.sendAndKill(serve(t, "--data", data, "--no-text"), 100, 0)
	}
	d.check(data)
}

// TestKillOnFullDiskLosesNothing does the same on a small disk that is full every second time. Then
// the service refuses events, ranks, and starts again.
func TestKillOnFullDiskLosesNothing(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("cannot mount a small disk, which only root may: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	data, ballast := filepath.Join(disk, "d"), filepath.Join(disk, "ballast")
	d := sender{t: t}
	for round := range *kills {
		full := round%2 == 1
		if full {
			fillDisk(t, ballast)
		}
		s := serve(t, "--data", data, "--no-text", "--min-free-bytes", "1")
		if full {
			status, answer := s.post(t, "/recommend",
				`{"user_id":"u0","candidates":["i1","i2"],"deadline_ms":10000}`)
			if status != http.StatusOK || len(order(t, answer)) != 2 {
				t.Errorf("/recommend answers %d on a full disk: %v", status, answer)
			}
		}
		refused := d.sendAndKill(s, 100, http.StatusInsufficientStorage)
		if full && !refused {
			t.Error("the full disk took all events")
		}
		if err := os.Remove(ballast); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	d.check(data)
}

// fillDisk writes a file until its disk is full.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return
		}
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

// TestDamagedLogIsNotTrainedOn: a log that lost records, at any place, is refused by a training.
func TestDamagedLogIsNotTrainedOn(t *testing.T) {
	archive := filepath.Join("testdata", "folders", "log-version-3.tar.gz")
	segment := func(data string) string {
		return filepath.Join(data, "log", "00000000000000000001.rlog")
	}
	for name, damage := range map[string]func(data string) error{
		"a flipped bit": func(data string) error {
			content, err := os.ReadFile(segment(data))
			if err != nil {
				return err
			}
			content[len(content)/2] ^= 1
			return os.WriteFile(segment(data), content, 0o600)
		},
		"no segment": func(data string) error { return os.Remove(segment(data)) },
		"no folder":  func(data string) error { return os.RemoveAll(filepath.Join(data, "log")) },
	} {
		t.Run(name, func(t *testing.T) {
			data := unpack(t, archive)
			if err := damage(data); err != nil {
				t.Fatal(err)
			}
			out := mustFail(t, 1, "train", "--data", data, "--no-text")
			if !strings.Contains(out, "the event log is damaged") {
				t.Errorf("train says %s", out)
			}
			out = mustFail(t, 1, "doctor", "--data", data, "--no-text")
			if !strings.Contains(out, "the event log is damaged") {
				t.Errorf("doctor says %s", out)
			}
		})
	}
}

// TestFewFileDescriptors holds more connections than the process may have open files. Afterwards
// the service takes events and ranks as before.
func TestFewFileDescriptors(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	inner := relish(t, "serve", "--addr", "127.0.0.1:0", "--data", data, "--no-text")
	limited := []string{"-c", `ulimit -n 60 && exec "$0" "$@"`}
	cmd := exec.Command("sh", append(limited, inner.Args...)...)
	cmd.Env = inner.Env
	s, err := start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if status, answer := s.post(t, "/feedback", clickEvent(0, 0)); status != http.StatusOK {
		t.Fatalf("/feedback answers %d: %v", status, answer)
	}
	http.DefaultClient.CloseIdleConnections()
	var held []net.Conn
	for range 150 {
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(s.url, "http://"), time.Second)
		if err != nil {
			break // the queue of the socket is full too
		}
		held = append(held, conn)
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	eventually(t, "events are taken again", func() bool {
		status, _, err := s.request(http.MethodPost, "/feedback", clickEvent(0, 1))
		return err == nil && status == http.StatusOK
	})
	s.stop(t)
	if n := countRecords(t, data); n != 2 {
		t.Errorf("the log has %d records, want 2", n)
	}
}
