package importfile

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"relish/ranker"
)

// cellKind says what a cell holds.
type cellKind uint8

const (
	missing cellKind = iota
	untyped          // a text of a CSV file, which may write a value of any type
	text
	number
	boolean
	texts
	numbers
	unsupported // an object, or a list of other things than texts or numbers
)

// cell is one value of a table.
type cell struct {
	kind cellKind
	text string   // the text, or the number or boolean as it is written
	list []string // of texts or numbers
}

// nulls are words that exports write for a value that is not there.
var nulls = []string{"null", "none", "nan", "na", "n/a", `\n`, "nil", "undefined", "<na>"}

// isNull reports whether the text stands for no value.
func isNull(s string) bool { return s == "" || slices.Contains(nulls, strings.ToLower(s)) }

// isMissing reports whether the cell says nothing.
func (c *cell) isMissing() bool {
	return c.kind == missing || c.kind == untyped && isNull(c.trimmed())
}

// trimmed returns the cell as a text without blanks around it, "" if there is no value.
func (c *cell) trimmed() string {
	if c.kind == missing {
		return ""
	}
	return strings.TrimSpace(c.text)
}

// id returns the cell as an id. A number that is whole has no decimal point: 7.0 is the id 7.
func (c *cell) id() string {
	s := c.trimmed()
	if c.kind != text && isNull(s) {
		return ""
	}
	if c.kind == untyped {
		// Tools that keep a column with missing values as floats write 7 as 7.0.
		if whole, found := strings.CutSuffix(s, ".0"); found && isDigits(whole) {
			return whole
		}
	}
	if c.kind == number && strings.ContainsAny(s, ".eE") {
		if x, err := strconv.ParseFloat(s, 64); err == nil && x == math.Trunc(x) &&
			math.Abs(x) < 1<<53 {
			return strconv.FormatFloat(x, 'f', -1, 64)
		}
	}
	return s
}

// isDigits reports whether s is a whole number without a sign or leading zeros.
func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == "" && !leadingZero(s)
}

// strings returns the values of a list. A text is split at the separator.
func (c *cell) strings(separator string) []string {
	switch {
	case c.kind == texts || c.kind == numbers:
		return c.list
	case c.trimmed() == "" || c.isMissing():
		return []string{}
	}
	parts := []string{}
	for _, part := range strings.Split(c.text, separator) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// ---- Types of fields ----

// The types of fields.
const (
	typeNumber = "number"
	typeBool   = "bool"
	typeText   = "text"
	typeList   = "list"
)

// FieldTypes are the types that Options.Types may name.
var FieldTypes = []string{typeNumber, typeBool, typeText, typeList}

// maxListValue is the longest value, in bytes, of a text that counts as a list by itself.
const maxListValue = 64

// typeOf returns the type that all cells of a CSV column have, "" if the column is empty or typed.
func typeOf(cells []cell, listSeparator string) string {
	values, isNumber, isBool, list := 0, true, true, false
	short := true
	for i := range cells {
		s := cells[i].trimmed()
		if cells[i].kind != untyped || isNull(s) {
			continue
		}
		values++
		_, ok := fieldNumber(s)
		isNumber = isNumber && ok && !leadingZero(s)
		_, ok = fieldBool(s)
		isBool = isBool && ok
		for i, part := range strings.Split(s, listSeparator) {
			list = list || i > 0
			short = short && len(part) <= maxListValue
		}
	}
	switch {
	case values == 0:
		return ""
	case isNumber:
		return typeNumber
	case isBool:
		return typeBool
	case list && short:
		return typeList
	}
	return typeText
}

// leadingZero reports whether a number is rather a code, such as 007.
func leadingZero(s string) bool {
	return len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9'
}

func fieldNumber(s string) (float64, bool) {
	x, ok := parseNumber(s)
	return x, ok && !math.IsInf(x, 0)
}

func fieldBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes":
		return true, true
	case "false", "no":
		return false, true
	}
	return false, false
}

// value converts a cell into a field of the type, or, if the type is "", into what the cell holds.
// The kind of the value is ranker.NoValue if there is none. why is "" unless the cell does not fit.
func (c *cell) value(typ, listSeparator string) (v ranker.FieldValue, why string) {
	s := c.trimmed()
	switch {
	case c.isMissing():
		return v, ""
	case c.kind == unsupported:
		return v, "is neither a number, a boolean, a text, nor a list of texts or of numbers"
	case typ == typeList:
		return ranker.StringsValue(c.strings(listSeparator)), ""
	case typ == typeNumber || typ == "" && c.kind == number:
		if x, ok := fieldNumber(s); ok {
			return ranker.NumberValue(x), ""
		}
		return v, "is not a number, as the others of this column are"
	case typ == typeBool || typ == "" && c.kind == boolean:
		if b, ok := fieldBool(s); ok {
			return ranker.BoolValue(b), ""
		}
		return v, "is neither true nor false, as the others of this column are"
	case c.kind == numbers && typ == "":
		return numbersValue(c.list)
	case c.kind == texts || c.kind == numbers:
		return ranker.StringsValue(c.list), ""
	}
	return ranker.StringValue(c.text), ""
}

func numbersValue(list []string) (v ranker.FieldValue, why string) {
	v.Kind = ranker.Numbers
	for _, s := range list {
		x, ok := fieldNumber(s)
		if !ok {
			return v, "has a number that is out of range"
		}
		v.Nums = append(v.Nums, x)
	}
	return v, ""
}
