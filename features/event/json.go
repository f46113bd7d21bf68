package event

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/internal/suggest"
	"relish/ranker"
)

// strict rejects unknown members. The JSON library itself rejects repeated members, members in
// another case and invalid UTF-8.
var strict = json.RejectUnknownMembers(true)

// ---- Times ----

// timestamp is a time in Unix ms. It reads RFC 3339 or a whole number of ms, and writes the number.
type timestamp int64

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (s *timestamp) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case '0':
		ms, err := tok.Float()
		if err != nil || ms != math.Trunc(ms) || math.Abs(ms) > maxMillis {
			return errTime
		}
		*s = timestamp(ms)
		return nil
	case '"':
		ms, err := ParseTime(tok.String())
		*s = timestamp(ms)
		return err
	}
	return errTime
}

// maxMillis is the end of the year 9999 in Unix ms, the last time that RFC 3339 can write.
const maxMillis = 253402300799999

var errTime = errors.New("must be RFC 3339 or a whole number of Unix milliseconds")

// ParseTime reads RFC 3339 or a decimal number of Unix milliseconds. It returns Unix milliseconds.
func ParseTime(s string) (int64, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		if ms < -maxMillis || ms > maxMillis {
			return 0, errTime
		}
		return ms, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, errTime
	}
	return t.UnixMilli(), nil
}

// ---- Errors ----

func invalid(pointer, message string) *ranker.EventError {
	return &ranker.EventError{Code: "invalid_field", Pointer: pointer, Message: message}
}

// decodeError turns an error of the JSON library into an EventError, without the user's data.
// members are the names to suggest for an unknown member.
func decodeError(err error, members []string) *ranker.EventError {
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) {
		return &ranker.EventError{
			Code:    "malformed",
			Message: "not valid JSON: " + syntaxReason(syn.Err),
			Pointer: pointer(syn.JSONPointer),
		}
	}
	var sem *json.SemanticError
	if !errors.As(err, &sem) {
		return &ranker.EventError{Code: "malformed", Message: "not valid JSON"}
	}
	e := invalid(pointer(sem.JSONPointer), "")
	switch {
	case errors.Is(sem.Err, json.ErrUnknownName):
		e.Code, e.Message = "unknown_field", "unknown member"+suggest.DidYouMean(
			sem.JSONPointer.LastToken(), members,
		)
	case errors.Is(sem.Err, strconv.ErrRange):
		e.Message = "the number is out of range"
	case sem.Err != nil:
		e.Message = sem.Err.Error()
	default:
		e.Message = "must not be " + jsonKindName(sem.JSONKind)
	}
	return e
}

// maxPointer bounds the pointer of an error in bytes. A member's name may be as long as the body.
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
		return "a JSON object"
	case '[':
		return "a JSON array"
	case 't', 'f':
		return "a JSON boolean"
	}
	return "a JSON " + k.String()
}

func syntaxReason(err error) string {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "a member occurs twice"
	case err == nil:
		return "it ends early"
	}
	return err.Error()
}
