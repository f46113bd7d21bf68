package ranker

import (
	"errors"
	"maps"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// FieldValue is a number, a boolean, a string, or a list of strings or numbers. Exactly the member
// that Kind names is set; a boolean is held in Num as 0 or 1.
type FieldValue struct {
	Kind ValueKind
	Num  float64
	Str  string
	List []string
	Nums []float64
}

// ValueKind says which member of a FieldValue holds the value.
type ValueKind uint8

// The kinds of field values. The zero kind means "no value".
const (
	NoValue ValueKind = iota
	Number
	Bool
	String
	Strings
	Numbers
)

// NumberValue returns a numeric value.
func NumberValue(x float64) FieldValue { return FieldValue{Kind: Number, Num: x} }

// BoolValue returns a boolean value.
func BoolValue(b bool) FieldValue {
	if b {
		return FieldValue{Kind: Bool, Num: 1}
	}
	return FieldValue{Kind: Bool}
}

// StringValue returns a string value.
func StringValue(s string) FieldValue { return FieldValue{Kind: String, Str: s} }

// StringsValue returns a list of strings. It keeps the slice, which must not change afterwards.
func StringsValue(s []string) FieldValue { return FieldValue{Kind: Strings, List: s} }

// AsStrings returns the value as strings: a string itself, the members of a list of strings, a
// number in its shortest decimal form, "true" or "false". It is nil for a list of numbers and for
// no value. Category features and conditions compare these strings, and an item's text is composed
// of them. The result must not be changed.
func (v FieldValue) AsStrings() []string {
	switch v.Kind {
	case String:
		return []string{v.Str}
	case Strings:
		return v.List
	case Number:
		return []string{strconv.FormatFloat(v.Num, 'g', -1, 64)}
	case Bool:
		return []string{strconv.FormatBool(v.Num != 0)}
	}
	return nil
}

// errUnsupportedValue is the error for a JSON value that no FieldValue can hold.
var errUnsupportedValue = errors.New(
	"must be a number, a boolean, a string, or a list of strings or of numbers")

// errMixedList is the error for a list with values of different kinds.
var errMixedList = errors.New("must be a list of only strings or of only numbers")

// MarshalJSONTo writes the value as the JSON that it was read from; no value is null.
func (v FieldValue) MarshalJSONTo(enc *jsontext.Encoder) error {
	switch v.Kind {
	case Number:
		return enc.WriteToken(jsontext.Float(v.Num))
	case Bool:
		return enc.WriteToken(jsontext.Bool(v.Num != 0))
	case String:
		return enc.WriteToken(jsontext.String(v.Str))
	case NoValue:
		return enc.WriteToken(jsontext.Null)
	}
	if err := enc.WriteToken(jsontext.BeginArray); err != nil {
		return err
	}
	for _, s := range v.List {
		if err := enc.WriteToken(jsontext.String(s)); err != nil {
			return err
		}
	}
	for _, n := range v.Nums {
		if err := enc.WriteToken(jsontext.Float(n)); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndArray)
}

// WithoutNulls removes the fields that have no value, and returns the map. JSON's null says nothing
// of a field.
func WithoutNulls(fields map[string]FieldValue) map[string]FieldValue {
	maps.DeleteFunc(fields, func(_ string, v FieldValue) bool { return v.Kind == NoValue })
	return fields
}

// UnmarshalJSONFrom reads a number, a boolean, a string, or a list of strings or of numbers. Null
// is no value, also in a list. An empty list is an empty list of strings. Anything else is an
// error.
func (v *FieldValue) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case '0':
		x, err := readNumber(tok)
		*v = NumberValue(x)
		return err
	case 't', 'f':
		*v = BoolValue(tok.Bool())
	case '"':
		*v = StringValue(tok.String())
	case '[':
		return v.readList(dec)
	case 'n':
		*v = FieldValue{}
	default:
		return errUnsupportedValue
	}
	return nil
}

// errTooPrecise is the error for a whole number that a float64 cannot hold. It is mostly an id.
var errTooPrecise = errors.New("has more digits than a number keeps, 15: send it as a string")

// readNumber returns the number of a token. It refuses whole numbers that would change.
func readNumber(tok jsontext.Token) (float64, error) {
	x, err := tok.Float()
	if err != nil || math.Abs(x) < 1<<53 {
		return x, err
	}
	text := tok.String()
	exact := func() bool { return strconv.FormatFloat(x, 'f', 0, 64) == text }
	if !strings.ContainsAny(text, ".eE") && jsontext.Float(x).String() != text && !exact() {
		return 0, errTooPrecise
	}
	return x, nil
}

// readList reads the rest of a list, whose values must all be of one kind.
func (v *FieldValue) readList(dec *jsontext.Decoder) error {
	*v = StringsValue([]string{})
	for dec.PeekKind() != ']' {
		tok, err := dec.ReadToken()
		if err != nil {
			return err
		}
		switch {
		case tok.Kind() == '"' && v.Nums == nil:
			v.List = append(v.List, tok.String())
		case tok.Kind() == '0' && len(v.List) == 0:
			x, err := readNumber(tok)
			if err != nil {
				return err
			}
			v.Kind, v.List = Numbers, nil
			v.Nums = append(v.Nums, x)
		case tok.Kind() == 'n':
		default:
			return errMixedList
		}
	}
	_, err := dec.ReadToken()
	return err
}
