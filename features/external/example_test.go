package external_test

import (
	"fmt"

	"relish/features/external"
)

func ExampleVersion_Newer() {
	monday := external.Version{Digest: "aa", Imported: 1_767_571_200_000}
	tuesday := external.Version{Digest: "bb", Imported: 1_767_657_600_000}
	fmt.Println(tuesday.Newer(monday), monday.Newer(tuesday))
	// Output: true false
}
