package eventsort_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"relish/features/event"
	"relish/features/eventsort"
	"relish/ranker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const arrival = 1_777_629_600_000

// records returns imported records of all kinds, some without a time and many at equal times.
func records(n int) []event.Record {
	rng := rand.New(rand.NewPCG(1, 1))
	var out []event.Record
	for i := range n {
		e := ranker.Event{ID: fmt.Sprint("e", i), Imported: true, Time: arrival - rng.Int64N(50)}
		switch i % 4 {
		case 0:
			e.Kind, e.ItemID = ranker.EventItem, fmt.Sprint("i", i)
		case 1:
			e.Kind, e.UserID = ranker.EventUser, "u"
		case 2:
			e.Kind, e.UserID = ranker.EventImpression, "u"
			e.Impression = &ranker.Impression{Items: []string{"a", "b"}}
		case 3:
			e.Kind, e.UserID, e.ItemID, e.Action = ranker.EventInteraction, "u", "a", "click"
		}
		if rng.IntN(10) == 0 && i%4 < 2 {
			e.Time = 0
		}
		out = append(out, event.Record{
			Seq: uint64(i + 1), Arrival: arrival, Replica: "00000000000000aa", Event: e,
		})
	}
	return out
}

func sorted(t *testing.T, s *eventsort.Sorter) (out []event.Record) {
	t.Helper()
	for rec, err := range s.Records() {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec)
	}
	return out
}

// Records come in the order of event.OrderOf and unchanged, whether they fit into memory or not.
// The order of adding does not matter. Close leaves no file.
func TestSorter(t *testing.T) {
	in := records(2000)
	want := slices.Clone(in)
	slices.SortFunc(want, func(a, b event.Record) int {
		return event.OrderOf(&a).Compare(event.OrderOf(&b))
	})
	for _, memory := range []int{0, 100_000, 2_000} { // no file, a few, more than one merge takes
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			dir := t.TempDir()
			s := eventsort.New(dir)
			s.Memory = memory
			shuffled := slices.Clone(in)
			rand.Shuffle(len(shuffled), func(i, j int) {
				shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
			})
			for i := range shuffled {
				if err := s.Add(&shuffled[i]); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // a sorter can be read again
				if d := cmp.Diff(want, sorted(t, s)); d != "" || s.Len() != len(in) {
					t.Fatalf("%d records: %s", s.Len(), d)
				}
			}
			for range s.Records() { // and not to its end
				break
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("Close left %v", left)
			}
		})
	}
}

// What an interrupted process left is removed, and nothing else.
func TestRemoveLeftovers(t *testing.T) {
	dir := t.TempDir()
	s := eventsort.New(dir)
	s.Memory = 1
	for _, rec := range records(3) {
		if err := s.Add(&rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/other", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := eventsort.RemoveLeftovers(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != "other" {
		t.Errorf("left: %v", left)
	}
	if err := eventsort.RemoveLeftovers(dir + "/none"); err != nil {
		t.Error(err)
	}
}
