package ingest_test

import (
	"fmt"

	"relish/features/ingest"
)

func ExampleDeduplicator() {
	d := ingest.NewDeduplicator(1000)
	for _, id := range []string{"e1", "e2", "e1"} {
		fmt.Println(id, d.Add(id))
	}
	// Output:
	// e1 true
	// e2 true
	// e1 false
}
