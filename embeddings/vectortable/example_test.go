package vectortable_test

import (
	"fmt"
	"os"
	"strings"

	"relish/embeddings/vectortable"
)

// A vector that was appended is found again after the table was closed and opened.
func Example() {
	dir, err := os.MkdirTemp("", "vectors")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	digest := strings.Repeat("ab", 32) // of the encoder

	table, err := vectortable.Open(dir, digest, 2, vectortable.Options{})
	if err != nil {
		panic(err)
	}
	if err := table.Append([]uint64{7}, [][]float32{{0.6, 0.8}}); err != nil {
		panic(err)
	}
	if err := table.Close(); err != nil {
		panic(err)
	}

	table, err = vectortable.Open(dir, digest, 2, vectortable.Options{ReadOnly: true})
	if err != nil {
		panic(err)
	}
	defer table.Close()
	vector := make([]float32, 2)
	fmt.Println(table.Read(7, vector), vector) // float16 keeps three decimals
	fmt.Println(table.Has(8))
	// Output:
	// true [0.60009766 0.7998047]
	// false
}
