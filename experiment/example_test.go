package experiment_test

import (
	"fmt"
	"time"

	"relish/experiment"
	"relish/experiment/targeting"
)

// A file with one experiment, and the arms of three users.
func Example() {
	set, err := experiment.Parse([]byte(`
layers:
- name: lists
  experiments:
  - name: diverse-lists
    arms:
    - {name: control}
    - {name: diverse, rules: {diversity: {lambda: 0.7, top: 20}}}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	for _, user := range []string{"ann", "bob", "cid"} {
		subject := experiment.Subject{Attributes: targeting.Attributes{ID: user}, Now: now}
		for _, choice := range set.Assign(nil, &subject) {
			fmt.Println(user, choice.Name, choice.Arms[choice.Arm].Name)
		}
	}
	// Output:
	// ann diverse-lists diverse
	// bob diverse-lists control
	// cid diverse-lists diverse
}

// Every problem of a file is reported with its line, its key and what to write.
func ExampleParse_invalid() {
	_, err := experiment.Parse([]byte(`
layers:
- name: lists
  experiments:
  - name: diverse-lists
    coverage: 2
    arms:
    - {name: control, weight: 0.5}
    - {name: diverse, weight: 0.4}
`))
	fmt.Println(err)
	// Output:
	// line 6: layers[0].experiments[0].coverage: 2 is out of range; write 0 to 1
	// line 8: layers[0].experiments[0].arms: the weights add up to 0.9; they must add up to 1
}
