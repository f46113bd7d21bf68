package event_test

import (
	"fmt"
	"strings"

	"relish/features/event"
)

func ExampleReader() {
	file := "user,item,action,time\n" +
		"ann,film-1,click,2026-01-02T03:04:05Z\n" +
		"bob,film-2,click,yesterday\n"
	r := event.NewReader(strings.NewReader(file), "csv")
	for line := range r.All() {
		if line.Err != nil {
			fmt.Printf("line %d: %v\n", line.Line, line.Err)
			continue
		}
		fmt.Printf(
			"line %d: %s of %s by %s\n", line.Line, line.Event.Action, line.Event.ItemID,
			line.Event.UserID,
		)
	}
	if err := r.Err(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// line 2: click of film-1 by ann
	// line 3: /time: must be a time like 2026-05-01T10:00:00Z or a whole number of Unix milliseconds, not "yesterday"
}
