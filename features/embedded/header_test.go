package embedded_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/features/embedded"
	"relish/features/ingest"
	"relish/features/storetest"
)

// A damaged header of a segment loses no record. The store opens with and without its checkpoint,
// has every event, and takes new ones.
func TestDamagedHeaders(t *testing.T) {
	cfg := storetest.Config()
	for segments := 1; segments <= 2; segments++ {
		for _, checkpoint := range []bool{true, false} {
			t.Run(fmt.Sprint(segments, " segments, checkpoint ", checkpoint), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "d")
				for i := range segments {
					s := open(t, dir, cfg, quick())
					add(t, s, click(fmt.Sprint("e", i), clickUser, "i"))
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
				damageHeaders(t, ingest.LogDir(dir))
				if !checkpoint {
					if err := embedded.RemoveCheckpoint(dir); err != nil {
						t.Fatal(err)
					}
				}
				s := open(t, dir, cfg, quick())
				add(t, s, click("new", clickUser, "i"))
				want := segments + 1
				if got := countClicks(t, s); got != want || s.LastSeq() != uint64(want) {
					t.Errorf("%d clicks up to record %d, want %d", got, s.LastSeq(), want)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// A sealed segment that somebody cut short is reported, although the checkpoint has its records and
// so nothing reads it.
func TestSealedSegmentCutShort(t *testing.T) {
	cfg, dir := storetest.Config(), filepath.Join(t.TempDir(), "d")
	for i := range 2 {
		s := open(t, dir, cfg, quick())
		add(t, s, click(fmt.Sprint("e", i), clickUser, "i"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	const name = "00000000000000000001.rlog"
	path := filepath.Join(ingest.LogDir(dir), name)
	st, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, st.Size()-1)
	}
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	opt := quick()
	opt.Ingest.Log = slog.New(slog.NewTextHandler(&logged, nil))
	s := open(t, dir, cfg, opt)
	if got := countClicks(t, s); got != 2 {
		t.Errorf("%d clicks, want the 2 of the checkpoint", got)
	}
	if !strings.Contains(logged.String(), name) || !strings.Contains(logged.String(), "record 1 ") {
		t.Errorf("the start logs %q", logged.String())
	}
}

// damageHeaders flips a bit of the log's id in the header of each segment.
func damageHeaders(t *testing.T, dir string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.rlog"))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[10] ^= 1
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
