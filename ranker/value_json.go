package ranker

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// errUnsupportedValue is what a JSON value that no Value can hold is refused with.
var errUnsupportedValue = errors.New("must be a number, a boolean, a string, or a list of strings or of numbers")

// MarshalJSONTo writes the value as the JSON it came from.
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

// UnmarshalJSONFrom reads a number, a boolean, a string, or a list of strings or of numbers. An empty
// list is an empty list of strings. Anything else is an error.
func (v *FieldValue) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case '0':
		x, err := tok.Float()
		*v = NumberValue(x)
		return err
	case 't', 'f':
		*v = BoolValue(tok.Bool())
	case '"':
		*v = StringValue(tok.String())
	case '[':
		return v.readList(dec)
	default:
		return errUnsupportedValue
	}
	return nil
}

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
			x, err := tok.Float()
			if err != nil {
				return err
			}
			v.Kind, v.List = Numbers, nil
			v.Nums = append(v.Nums, x)
		default:
			return fmt.Errorf("list %w", errUnsupportedValue)
		}
	}
	_, err := dec.ReadToken()
	return err
}
