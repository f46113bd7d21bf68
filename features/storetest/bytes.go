package storetest

import (
	"fmt"

	"relish/features"
)

// Bytes returns all that the state has. Equal states have equal bytes, in whatever form and order
// they keep it.
func Bytes(s *features.State) []byte {
	dump := s.Dump(s.Replica())
	counters := dump.Parts[0].Counters
	b := fmt.Appendf(nil, "%s %d %d %v\n", s.Replica(), s.Seq(), dump.Arrival, s.TableDigests())
	for row, err := range dump.Items {
		if err != nil {
			panic(err) // a state has no error
		}
		it, err := counters.ItemFromRow(&row)
		if err != nil {
			panic(err)
		}
		b = counters.AppendItem(b, row.Item.ID, it)
	}
	for row, err := range dump.Users {
		if err != nil {
			panic(err)
		}
		u, err := counters.UserFromRow(&row)
		if err != nil {
			panic(err)
		}
		b = counters.AppendUser(b, row.ID, u)
	}
	for _, key := range counters.Keys() {
		b = counters.AppendCounts(b, key)
	}
	return b
}
