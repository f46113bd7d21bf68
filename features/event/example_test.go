package event_test

import (
	"fmt"
	"strings"

	"relish/features/event"
)

func ExampleReader() {
	file := "user,item,action,time\n" +
		"ann,film-1,click,2026-01-02T03:04:05Z\n" +
		"bob,,click,2026-01-02T03:04:06Z\n"
	r := event.NewReader(strings.NewReader(file), "csv")
	for line := range r.All() {
		if line.Err != nil {
			fmt.Printf("line %d: %v\n", line.Line, line.Err)
			continue
		}
		e := line.Event
		fmt.Printf("line %d: %s of %s by %s\n", line.Line, e.Action, e.ItemID, e.UserID)
	}
	if err := r.Err(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// line 2: click of film-1 by ann
	// line 3: /item: item is required: send an id of 1 to 256 bytes of printable UTF-8
}
