package targeting

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// matches is one recursive function over plain structs instead of a tree of interfaces, so that
// none of its arguments escapes to the heap.
func (n *node) matches(v *Value) bool {
	switch n.op {
	case opAnd:
		return n.allChildren(v)
	case opOr:
		return len(n.children) == 0 || n.anyChild(v)
	case opNot:
		return !n.children[0].matches(v)
	case opField:
		x := v.lookup(n.path)
		return n.children[0].matches(&x)
	case opDeepEqual, opDeepEqualFold:
		return deepEqual(v, &n.arg, n.op == opDeepEqualFold)
	case opEq:
		return scalarEqual(v, &n.arg, false)
	case opLt, opLte, opGt, opGte:
		return orderable(v, &n.arg) && n.accepts(compare(v, &n.arg))
	case opExists:
		return (v.kind != null) == (n.arg.num != 0)
	case opIn, opInFold:
		return n.in(v)
	case opRegex:
		return v.kind == text && n.re.MatchString(v.str)
	case opType:
		return v.kind == kindNames[n.arg.str]
	case opVersionEq, opVersionLt, opVersionLte, opVersionGt, opVersionGte:
		if !orderable(v, &n.arg) {
			return false
		}
		var buf [128]byte
		return n.accepts(bytes.Compare(appendVersion(buf[:0], v), n.version))
	}
	return v.kind == list && n.matchesList(v)
}

func (n *node) allChildren(v *Value) bool {
	for i := range n.children {
		if !n.children[i].matches(v) {
			return false
		}
	}
	return true
}

func (n *node) anyChild(v *Value) bool {
	for i := range n.children {
		if n.children[i].matches(v) {
			return true
		}
	}
	return false
}

// matchesList evaluates the tests of a list as a whole.
func (n *node) matchesList(v *Value) bool {
	switch n.op {
	case opSize:
		size := Value{kind: number, num: float64(v.length())}
		return n.children[0].matches(&size)
	case opAll:
		for k := range n.children {
			if !n.children[k].anyElement(v, false) {
				return false
			}
		}
		return true
	}
	return n.children[0].anyElement(v, true)
}

// anyElement reports whether an element of the list v matches n.
func (n *node) anyElement(v *Value, skipNull bool) bool {
	var x Value // declared outside the loop, so that it stays on the stack
	for i := range v.length() {
		x = v.index(i)
		if (x.kind != null || !skipNull) && n.matches(&x) {
			return true
		}
	}
	return false
}

// in reports whether the value, or one of a list's elements, is among the arguments.
func (n *node) in(v *Value) bool {
	if v.kind != list {
		return n.contains(v)
	}
	var x Value
	for i := range v.length() {
		if x = v.index(i); n.contains(&x) {
			return true
		}
	}
	return false
}

func (n *node) contains(v *Value) bool {
	for i := range n.arg.items {
		if scalarEqual(v, &n.arg.items[i], n.op == opInFold) {
			return true
		}
	}
	return false
}

// scalarEqual is equality without conversion. A list or an object equals nothing.
func scalarEqual(a, b *Value, fold bool) bool {
	return a.kind != list && a.kind != object && deepEqual(a, b, fold)
}

// deepEqual is equality without conversion, of everything that the values contain.
func deepEqual(a, b *Value, fold bool) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case text:
		return a.str == b.str || fold && strings.EqualFold(a.str, b.str)
	case number, boolean:
		return a.num == b.num
	case list:
		if a.length() != b.length() {
			return false
		}
		var x, y Value
		for i := range a.length() {
			x, y = a.index(i), b.index(i)
			if !deepEqual(&x, &y, fold) {
				return false
			}
		}
	case object:
		return membersEqual(a, b, fold)
	}
	return true
}

// membersEqual compares the object a with the argument b, whose members are in a map.
func membersEqual(a, b *Value, fold bool) bool {
	if a.attrs == nil && len(a.members)+len(a.fields) != len(b.members) {
		return false
	}
	var x, y Value
	for name, member := range b.members {
		if x, y = a.get(name), member; !deepEqual(&x, &y, fold) {
			return false
		}
	}
	return true
}

// orderable reports whether the two values have an order: two numbers or two texts.
func orderable(a, b *Value) bool { return a.kind == b.kind && (a.kind == number || a.kind == text) }

func compare(a, b *Value) int {
	if a.kind == number {
		return cmp.Compare(a.num, b.num)
	}
	return compareUTF16(a.str, b.str)
}

// compareUTF16 orders texts as JavaScript does, by UTF-16 code units. A character beyond U+FFFF,
// whose first unit is a surrogate, comes before one from U+E000.
func compareUTF16(a, b string) int {
	for a != "" && b != "" {
		x, n := utf8.DecodeRuneInString(a)
		y, m := utf8.DecodeRuneInString(b)
		if x != y {
			if high, _ := utf16.EncodeRune(x); high != utf8.RuneError {
				if other, _ := utf16.EncodeRune(y); other == utf8.RuneError {
					return cmp.Compare(high, y)
				}
			} else if other, _ := utf16.EncodeRune(y); other != utf8.RuneError {
				return cmp.Compare(x, other)
			}
			return cmp.Compare(x, y)
		}
		a, b = a[n:], b[m:]
	}
	return cmp.Compare(len(a), len(b))
}

// accepts reports whether the operator accepts the outcome of a comparison.
func (n *node) accepts(c int) bool {
	switch n.op {
	case opLt, opVersionLt:
		return c < 0
	case opLte, opVersionLte:
		return c <= 0
	case opGt, opVersionGt:
		return c > 0
	case opGte, opVersionGte:
		return c >= 0
	}
	return c == 0
}

// appendVersion appends a version in the form that GrowthBook's SDKs compare as text. Numbers are
// padded to five characters, a release gets "~" and so comes after its pre-releases, and a leading
// v and the build (+...) are dropped.
func appendVersion(dst []byte, v *Value) []byte {
	var digits [32]byte
	s := v.str
	if v.kind == number {
		s = string(strconv.AppendFloat(digits[:0], v.num, 'f', -1, 64))
	}
	if s == "" {
		s = "0"
	}
	s = strings.TrimPrefix(s, "v")
	s, _, _ = strings.Cut(s, "+")
	parts := 0
	for more := true; more; parts++ {
		part := s
		if i := strings.IndexAny(s, "-."); i >= 0 {
			part, s = s[:i], s[i+1:]
		} else {
			more = false
		}
		if parts > 0 {
			dst = append(dst, '-')
		}
		if strings.Trim(part, "0123456789") == "" && part != "" {
			for range 5 - len(part) {
				dst = append(dst, ' ')
			}
		}
		dst = append(dst, part...)
	}
	if parts == 3 {
		dst = append(dst, "-~"...)
	}
	return dst
}
