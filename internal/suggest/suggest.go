// Package suggest finds the known name that a mistyped name most likely means. Error messages use
// it to say "did you mean …".
package suggest

import "strings"

// minPrefix is the shortest name, in bytes, that is taken for the beginning of a longer one: "user"
// for "user_id".
const minPrefix = 3

// maxLength is the longest name, in bytes, that is compared at all. The comparison takes time in
// the product of both lengths, and names come from clients.
const maxLength = 64

// Name returns the known name that is nearest to name, or "" if none is near.
//
// Case, hyphens and underscores do not count. Two names are near if one begins with the other. They
// are near as well if few edits turn one into the other: at most a third of the longer name's
// length. An edit inserts, deletes or replaces a byte, or swaps two neighbours. If two known names
// are equally near, the first one wins.
func Name(name string, known []string) string {
	best, bestDistance := "", maxLength
	for _, k := range known {
		if d, near := compare(normalize(name), normalize(k)); near && d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// DidYouMean returns the question that an error message ends with, `; did you mean "user_id"?`, or
// "" if no known name is near.
func DidYouMean(name string, known []string) string {
	if k := Name(name, known); k != "" {
		return `; did you mean "` + k + `"?`
	}
	return ""
}

var separators = strings.NewReplacer("_", "", "-", "", " ", "")

func normalize(name string) string { return separators.Replace(strings.ToLower(name)) }

func compare(a, b string) (distance int, near bool) {
	if a == "" || b == "" || len(a) > maxLength || len(b) > maxLength {
		return 0, false
	}
	d := editDistance(a, b)
	shorter, longer := a, b
	if len(a) > len(b) {
		shorter, longer = b, a
	}
	prefix := len(shorter) >= minPrefix && strings.HasPrefix(longer, shorter)
	return d, prefix || 3*d <= len(longer)
}

// editDistance returns the number of bytes to insert, delete, replace or swap with their neighbour
// to turn a into b (the optimal string alignment distance).
func editDistance(a, b string) int {
	// row[j] is the distance from the first i bytes of a to the first j bytes of b; above and
	// above2 are the rows of i-1 and i-2.
	row, above, above2 := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		above2, above, row = above, row, above2
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := above[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(replaced, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], above2[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
