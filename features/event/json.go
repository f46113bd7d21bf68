package event

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/internal/suggest"
	"relish/ranker"
)

// strict rejects unknown fields. The JSON library itself rejects repeated fields, fields in another
// case and invalid UTF-8.
var strict = json.RejectUnknownMembers(true)

// ---- Times ----

// timestamp is a time in Unix ms. It reads RFC 3339, a whole number of ms, or null, which is 0 for
// no time. It writes the number.
type timestamp int64

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (s *timestamp) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case '0':
		text := tok.String()
		n, err := tok.Float()
		if err != nil {
			return fmt.Errorf(notATime+", not %.40s", text)
		}
		ms, err := parseMillis(n, text)
		return s.set(ms, err)
	case '"':
		ms, err := ParseTime(tok.String())
		return s.set(ms, err)
	case 'n':
		*s = 0
		return nil
	}
	return fmt.Errorf(notATime+", not %s", jsonKindName(tok.Kind()))
}

// set takes over a time that was read, unless it is 0, which would stand for no time.
func (s *timestamp) set(ms int64, err error) error {
	if err == nil && ms == 0 {
		err = CheckTime(ms, 0)
	}
	*s = timestamp(ms)
	return err
}

// ---- Errors ----

func invalid(pointer, message string) *ranker.EventError {
	return &ranker.EventError{Code: "invalid_field", Pointer: pointer, Message: message}
}

func missing(field, message string) *ranker.EventError {
	return &ranker.EventError{
		Code: "missing_field", Pointer: "/" + field, Message: field + " is required: " + message}
}

// decodeError turns an error of the JSON library about data into an EventError, without the user's
// data. known are the names to suggest for an unknown field.
func decodeError(err error, data []byte, known []string) *ranker.EventError {
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) {
		return &ranker.EventError{
			Code: "malformed", Message: SyntaxMessage(syn, data), Pointer: pointer(syn.JSONPointer)}
	}
	var sem *json.SemanticError
	if !errors.As(err, &sem) {
		return &ranker.EventError{Code: "malformed", Message: "not valid JSON"}
	}
	e := invalid(pointer(sem.JSONPointer), "")
	switch {
	case errors.Is(sem.Err, json.ErrUnknownName):
		name := sem.JSONPointer.LastToken()
		hint := suggest.DidYouMean(name, known)
		if hint == "" {
			hint = ": remove it"
		}
		e.Code, e.Message = "unknown_field", fmt.Sprintf("unknown field %.40q", name)+hint
	case errors.Is(sem.Err, strconv.ErrRange):
		e.Message = "the number is out of range"
	case sem.Err != nil:
		e.Message = sem.Err.Error()
	default:
		e.Message = "must not be " + jsonKindName(sem.JSONKind)
	}
	return e
}

// maxPointer bounds the pointer of an error in bytes. A field's name may be as long as the body.
const maxPointer = 256

func pointer(p jsontext.Pointer) string {
	if len(p) <= maxPointer {
		return string(p)
	}
	return strings.ToValidUTF8(string(p[:maxPointer]), "") + "..."
}

func jsonKindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	}
	return k.String() // null
}

// SyntaxMessage says what is wrong with data, which is not valid JSON.
func SyntaxMessage(err *jsontext.SyntacticError, data []byte) string {
	reason := "it ends early"
	switch {
	case errors.Is(err.Err, jsontext.ErrDuplicateName):
		return fmt.Sprintf("field %.40q is given twice: keep one", err.JSONPointer.LastToken())
	case trailingComma(data, int(err.ByteOffset)):
		reason = "trailing comma: remove it"
	case err.Err != nil:
		// The library's text of this error repeats the data.
		if reason = err.Err.Error(); strings.HasPrefix(reason, "invalid surrogate pair") {
			reason = `a \u escape of half a surrogate pair`
		}
	}
	return fmt.Sprintf("not valid JSON at byte %d: %s", err.ByteOffset, reason)
}

// trailingComma reports whether data has a comma and then a closing bracket around data[at].
func trailingComma(data []byte, at int) bool {
	if at < 0 || at >= len(data) {
		return false
	}
	const space = " \t\r\n"
	before := bytes.TrimRight(data[:at], space)
	after := bytes.TrimLeft(data[at:], space)
	if len(after) > 0 && after[0] == ',' {
		before, after = data[:at+1], bytes.TrimLeft(after[1:], space)
	}
	closes := len(after) > 0 && (after[0] == '}' || after[0] == ']')
	return closes && bytes.HasSuffix(before, []byte(","))
}
