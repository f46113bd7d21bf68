package ingest_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"relish/features/event"
	"relish/features/ingest"
	"relish/ranker"
)

func click(id, user string) ranker.Event {
	return ranker.Event{
		Kind: ranker.EventInteraction, ID: id, UserID: user, ItemID: "i", Action: "click",
	}
}

func open(t *testing.T, dir string) *ingest.Ingester {
	t.Helper()
	g, err := ingest.Open(dir, ingest.Options{DedupeIDs: 100, Apply: func([]event.Record) {}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// write appends the events, of which none may be rejected, and closes the ingester.
func write(t *testing.T, g *ingest.Ingester, events ...ranker.Event) (out []ranker.EventOutcome) {
	t.Helper()
	out, err := g.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// The checkpoint of an older version has ids without contents. They are still known, and the
// contents of later records too.
func TestCheckpointWithoutContents(t *testing.T) {
	dir := t.TempDir()
	write(t, open(t, dir), click("1", "alice"), click("2", "alice"))
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	head := binary.LittleEndian.AppendUint64(nil, 1) // it lacks the second record
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	ids := binary.LittleEndian.AppendUint64(nil, 1)
	ids = binary.LittleEndian.AppendUint64(ids, xxhash.Sum64String("1"))
	ids = binary.LittleEndian.AppendUint32(ids, crc32.Checksum(ids, castagnoli))
	old := append(append(head, ids...), "null\n"...)
	if err := os.WriteFile(filepath.Join(dir, "journal"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		out := write(t, open(t, dir), click("1", "bob"), click("2", "alice"), click("2", "bob"))
		if !out[0].Duplicate || !out[1].Duplicate || out[2].Err == nil {
			t.Errorf("outcomes %+v", out)
		}
	}
}

// Replicas that did not know of each other may take two events with one id. The first one counts,
// and the number of the others is told.
func TestReadLogsTellsConflicts(t *testing.T) {
	var dirs []string
	for _, user := range []string{"alice", "bob"} {
		dir := t.TempDir()
		own := click("own", user)
		own.Source = "key:" + user
		write(t, open(t, dir), click("same", "carol"), click("other", user), own)
		dirs = append(dirs, ingest.LogDir(dir))
	}
	var got []string
	conflicts := 0
	for rec, err := range ingest.ReadLogs(100, func(n int) { conflicts = n }, dirs...) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(rec.Event.ID, " ", rec.Event.UserID))
	}
	if want := "same carol, other alice, own alice, own bob"; strings.Join(got, ", ") != want ||
		conflicts != 1 {
		t.Errorf("got %q and %d conflicts, want %q and 1", got, conflicts, want)
	}
}
