// Package plural writes numbers with their nouns.
package plural

import "fmt"

// Noun returns a regular noun in the form for n: "list" for 1, else "lists".
func Noun(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// Count returns n with its noun: "1 list", "2 lists".
func Count(n int, noun string) string { return fmt.Sprintf("%d %s", n, Noun(n, noun)) }
