package event

import (
	"errors"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Named is a value with names: ids, actions, names of fields. EachName calls yield with all of
// them.
type Named interface{ EachName(yield func(name string)) }

// Unmarshal reads one JSON value as json.Unmarshal does. If v is Named, the \u escape of half a
// surrogate pair becomes the replacement character: programs that cut texts write it. Among the
// names it stays an error, because two names could become one.
func Unmarshal(data []byte, v any, opt json.Options) error {
	err := json.Unmarshal(data, v, opt)
	named, ok := v.(Named)
	if syntax := (*jsontext.SyntacticError)(nil); !ok || !errors.As(err, &syntax) ||
		!utf8.Valid(data) {
		return err
	}
	reflect.ValueOf(v).Elem().SetZero()
	if json.Unmarshal(data, v, opt, jsontext.AllowInvalidUTF8(true)) != nil {
		return err
	}
	intact := true
	named.EachName(func(name string) {
		intact = intact && !strings.ContainsRune(name, utf8.RuneError)
	})
	if !intact {
		return err
	}
	return nil
}

// TextList is a list of texts in JSON. Null in the list says nothing, and null for the list is no
// list.
type TextList []string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *TextList) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch *l = nil; tok.Kind() {
	case 'n':
		return nil
	case '[':
		*l = TextList{}
	default:
		return errors.New("must be a list of strings, not " + jsonKindName(tok.Kind()))
	}
	for dec.PeekKind() != ']' {
		tok, err := dec.ReadToken()
		switch {
		case err != nil:
			return err
		case tok.Kind() == '"':
			*l = append(*l, tok.String())
		case tok.Kind() != 'n':
			return errors.New("must be a list of strings, not of " + jsonKindName(tok.Kind()))
		}
	}
	_, err = dec.ReadToken()
	return err
}
