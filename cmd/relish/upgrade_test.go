package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/ranker"
)

// unpack unpacks a data folder of an older version.
func unpack(t *testing.T, archive string) (dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	files := tar.NewReader(packed)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(path, 0o755)
		} else {
			var data []byte
			if data, err = io.ReadAll(files); err == nil {
				err = os.WriteFile(path, data, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestUpgrade opens data folders of older versions. All their records are there and new ones are
// added. A bundle ranks, or it is refused with what to do. The archives are what relish demo and
// relish train wrote, the first by the version of October 2026; add one for each new format.
func TestUpgrade(t *testing.T) {
	for _, c := range []struct {
		archive string
		records int
	}{{"log-version-2", 518}, {"log-version-3", 797}, {"log-version-4", 799}} {
		t.Run(c.archive, func(t *testing.T) {
			data := unpack(t, filepath.Join("testdata", "folders", c.archive+".tar.gz"))
			if n := readRecords(t, data); n != c.records {
				t.Errorf("the log has %d records, want %d", n, c.records)
			}
			s := serve(t, "--data", data, "--no-text")
			status, answer := s.post(t, "/recommend",
				`{"user_id":"u1","candidates":["films-1","films-2"],"deadline_ms":10000}`)
			if status != http.StatusOK || len(order(t, answer)) != 2 {
				t.Errorf("/recommend answers %d: %v", status, answer)
			}
			checkOlderBundles(t, s)
			if status, answer := s.post(t, "/feedback", clickEvent(1, 1)); status != http.StatusOK {
				t.Errorf("/feedback answers %d: %v", status, answer)
			}
			s.stop(t)
			// The ranking was recorded too.
			if n := readRecords(t, data); n != c.records+2 {
				t.Errorf("the log has %d records after two more, want %d", n, c.records+2)
			}
		})
	}
}

// readRecords returns how many records the log of a data folder has. A damaged log is a failure.
func readRecords(t *testing.T, data string) (n int) {
	t.Helper()
	for _, err := range eventlog.Read(ingest.LogDir(data), 1) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// checkOlderBundles fails unless every bundle either ranks, or is refused with a remedy.
func checkOlderBundles(t *testing.T, s *service) {
	t.Helper()
	_, body := s.get(t, "/models")
	var answer struct {
		Models []struct{ Version, State, Reason string }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Models) == 0 {
		t.Fatalf("/models: %v: %s", err, body)
	}
	for _, m := range answer.Models {
		if m.State == ranker.ModelRefused && !strings.Contains(m.Reason, "train") {
			t.Errorf("bundle %s is refused without a remedy: %s", m.Version, m.Reason)
		}
	}
}
