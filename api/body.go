package api

import (
	"errors"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/features/event"
	"relish/internal/suggest"
	"relish/ranker"
)

// jsonMediaType is what most routes accept.
var jsonMediaType = []string{"application/json"}

// checkContentType refuses bodies that are compressed, of another media type, or not in UTF-8.
func checkContentType(r *http.Request, types []string) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return errMediaType.with(
			"Content-Encoding %s is not supported: send the body uncompressed", quoted(encoding))
	}
	sent := r.Header.Get("Content-Type")
	if slices.Contains(types, sent) {
		return nil
	}
	mediaType, params, err := mime.ParseMediaType(sent)
	charset := params["charset"]
	utf8 := charset == "" || charset == "utf-8" || charset == "UTF-8"
	if err != nil || !slices.Contains(types, mediaType) || !utf8 {
		return errMediaType.with("Content-Type %s is not supported: send %s in UTF-8",
			quoted(sent), strings.Join(types, " or "))
	}
	return nil
}

// maxDepth bounds the nesting of a body: no route takes anything deeper, and decoding recurses.
const maxDepth = 32

// decode reads data into v: exactly one document, without unknown fields, repeated fields or deep
// nesting. Its errors are apiErrors.
func decode(data []byte, v any) error {
	if err := checkDepth(data); err != nil {
		return err
	}
	return decodeError(event.Unmarshal(data, v, json.RejectUnknownMembers(true)), data)
}

// checkDepth refuses a value that is nested more than maxDepth levels deep. It does not need valid
// JSON.
func checkDepth(value []byte) error {
	var scanner event.ValueScanner
	if scanner.Scan(value); scanner.MaxDepth > maxDepth {
		return errMalformed.with("nested more than 32 levels deep: flatten the body")
	}
	return nil
}

// countValues returns about how many values data has. It does not need valid JSON, and data may
// hold several values.
func countValues(data []byte) int {
	var scanner event.ValueScanner
	for len(data) > 0 {
		n, _ := scanner.Scan(data)
		data = data[n:]
	}
	return scanner.Values
}

// decodeError turns an error of the JSON decoder about data into an apiError with a pointer to the
// place.
func decodeError(err error, data []byte) error {
	if err == nil {
		return nil
	}
	var known *apiError
	var invalid *ranker.EventError
	var semantic *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &invalid):
		return invalid
	case errors.As(err, &semantic) && errors.Is(semantic.Err, json.ErrUnknownName):
		return errUnknownField.at(string(semantic.JSONPointer), "%s", unknownField(semantic))
	case errors.As(err, &semantic):
		return errInvalidField.at(string(semantic.JSONPointer), "%s", wrongType(semantic))
	case errors.As(err, &syntax):
		return errMalformed.at(string(syntax.JSONPointer), "%s", event.SyntaxMessage(syntax, data))
	}
	return errMalformed.with("not valid JSON, or more than one document in the body")
}

// unknownField names the field that the body must not have, and the field that was probably meant.
func unknownField(err *json.SemanticError) string {
	name := err.JSONPointer.LastToken()
	known := fieldNames(err.GoType)
	if hint := suggest.DidYouMean(name, known); hint != "" {
		return "unknown field " + quoted(name) + hint
	}
	return "unknown field " + quoted(name) + ": the fields are " + strings.Join(known, ", ")
}

// fieldNames returns the names that JSON objects of a struct type may have.
func fieldNames(t reflect.Type) []string {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	names := make([]string, 0, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// wrongType says what a field must be, and what it is instead.
func wrongType(err *json.SemanticError) string {
	want := typeName(err.GoType)
	switch {
	case errors.Is(err.Err, strconv.ErrSyntax), errors.Is(err.Err, strconv.ErrRange):
		return "must be " + want + ", not " + shorten(string(err.JSONValue))
	case err.Err != nil:
		return err.Err.Error()
	case want == "":
		return "must not be " + kindName(err.JSONKind)
	}
	return "must be " + want + ", not " + kindName(err.JSONKind)
}

// typeName returns what JSON has for a Go type, "" if nothing simple.
func typeName(t reflect.Type) string {
	if t == nil {
		return ""
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number of at most 64 bits"
	case reflect.Float64:
		return "a 64-bit number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return ""
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return k.String() // null, true, false
}

// maxEcho is how many bytes of the client's data an error message repeats.
const maxEcho = 40

func shorten(s string) string {
	if len(s) <= maxEcho {
		return s
	}
	return strings.ToValidUTF8(s[:maxEcho], "") + "…"
}

func quoted(s string) string { return strconv.Quote(shorten(s)) }
