package suggest_test

import (
	"fmt"

	"relish/internal/suggest"
)

func Example() {
	known := []string{"user_id", "candidates", "limit"}
	fmt.Println(`unknown field "user"` + suggest.DidYouMean("user", known))
	// Output: unknown field "user"; did you mean "user_id"?
}
