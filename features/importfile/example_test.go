package importfile_test

import (
	"fmt"
	"strings"

	"relish/features/importfile"
)

func ExampleReader() {
	file := "visitor_id;product;event_type;ts\n" +
		"ann;film-1;buy;1777629600\n" +
		"bob;;view;1777629660\n"
	r := importfile.NewReader("clicks.csv", strings.NewReader(file), importfile.Options{
		Columns: map[string]string{
			"user": "visitor_id", "item": "product", "action": "event_type", "time": "ts",
		},
		Actions: map[string]string{"buy": "purchase"},
	})
	for row := range r.Rows() {
		if row.Err != nil {
			fmt.Printf("line %d: %v\n", row.Line, row.Err)
			continue
		}
		e := row.Event
		fmt.Printf("line %d: %s of %s by %s\n", row.Line, e.Action, e.ItemID, e.UserID)
	}
	if err := r.Err(); err != nil {
		fmt.Println(err)
	}
	fmt.Println("times:", r.Description().Times)
	// Output:
	// line 2: purchase of film-1 by ann
	// line 3: /item: item is required: send an id of 1 to 256 bytes of printable UTF-8
	// times: Unix seconds
}
