package event

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"relish/ranker"
)

// Bounds of one event. They are far above normal use and limit what one event can cost. Lengths are
// in bytes.
const (
	MaxID     = 256 // of any id
	maxName   = 64  // of an action or a field's name
	maxTitle  = 4 << 10
	maxText   = 64 << 10
	maxTags   = 256 // number of tags
	maxTag    = 256
	maxFields = 128  // number of fields or experiments
	maxList   = 512  // number of values of one field
	maxShown  = 5000 // number of items of one impression

	MaxContextKeys  = 32      // number of context values
	MaxContextBytes = 4 << 10 // of all names and values of a context together
)

var errID = errors.New("must be 1 to 256 bytes of printable UTF-8")

// CheckID returns an error unless id is 1 to MaxID bytes of printable, valid UTF-8.
func CheckID(id string) error { return checkName(id, MaxID, errID) }

func checkName(s string, limit int, bad error) error {
	if s == "" || len(s) > limit {
		return bad
	}
	if isPrintableASCII(s) {
		return nil
	}
	if !utf8.ValidString(s) {
		return bad
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return bad
		}
	}
	return nil
}

// isPrintableASCII is true of most ids and names.
func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Validate checks everything that can be checked with the event alone. It returns the first
// problem.
func Validate(e *ranker.Event) *ranker.EventError {
	if err := checkIDs(e); err != nil {
		return err
	}
	if e.Time != 0 {
		if err := CheckTime(e.Time, 0); err != nil {
			return invalid("/time", err.Error())
		}
	}
	switch e.Kind {
	case ranker.EventItem:
		return checkItem(e)
	case ranker.EventUser:
		return CheckFields("/fields", e.Fields)
	case ranker.EventImpression:
		return checkImpression(e.Impression)
	case ranker.EventInteraction:
		if e.Action == "" {
			return missing("action", "send what the user did, such as click")
		}
		if checkName(e.Action, maxName, errID) != nil {
			return invalid("/action", "must be 1 to 64 bytes of printable UTF-8")
		}
		if e.Value != nil && !finite(*e.Value) {
			return invalid("/value", notFinite)
		}
	case ranker.EventTable:
		return checkTable(e)
	}
	return nil
}

// tableName matches the names of external tables, which occur in file and column names.
var tableName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckTableName returns an error unless name can name an external table.
func CheckTableName(name string) error {
	if !tableName.MatchString(name) {
		return errors.New("must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
	}
	return nil
}

func checkTable(e *ranker.Event) *ranker.EventError {
	if err := CheckTableName(e.Table); err != nil {
		return invalid("/table", err.Error())
	}
	if sum, err := hex.DecodeString(e.Digest); err != nil || len(sum) != sha256.Size {
		return invalid("/digest", "must be 64 hexadecimal digits")
	}
	return nil
}

// checkIDs checks the ids that the kind needs and the optional ids that are set.
func checkIDs(e *ranker.Event) *ranker.EventError {
	interaction, impression := e.Kind == ranker.EventInteraction, e.Kind == ranker.EventImpression
	item := e.Kind == ranker.EventItem || e.Kind == ranker.EventDelete
	model := ""
	if e.Impression != nil {
		model = e.Impression.Model
	}
	for _, id := range []struct {
		field, value string
		required     bool
	}{
		{"id", e.ID, true},
		{"item", e.ItemID, interaction || item},
		{"user", e.UserID, interaction || impression || e.Kind == ranker.EventUser},
		{"session", e.Session, false},
		{"impression", e.ImpressionID, false},
		{"model", model, false},
	} {
		if id.value == "" && !id.required {
			continue
		}
		if id.value == "" {
			return missing(id.field, "send an id of 1 to 256 bytes of printable UTF-8")
		}
		if err := CheckID(id.value); err != nil {
			return invalid("/"+id.field, err.Error())
		}
	}
	return nil
}

func checkItem(e *ranker.Event) *ranker.EventError {
	if e.Title != nil && len(*e.Title) > maxTitle {
		return tooLarge("/title", maxTitle, "bytes")
	}
	if e.Text != nil && len(*e.Text) > maxText {
		return tooLarge("/text", maxText, "bytes")
	}
	if len(e.Tags) > maxTags {
		return tooLarge("/tags", maxTags, "tags")
	}
	for i, t := range e.Tags {
		if len(t) > maxTag {
			return tooLarge(fmt.Sprintf("/tags/%d", i), maxTag, "bytes")
		}
	}
	return CheckFields("/fields", e.Fields)
}

func checkImpression(imp *ranker.Impression) *ranker.EventError {
	if imp == nil || len(imp.Items) == 0 {
		return missing("items", "send the ids of the items that were shown")
	}
	if len(imp.Items) > maxShown {
		return tooLarge("/items", maxShown, "items")
	}
	for i, id := range imp.Items {
		if err := CheckID(id); err != nil {
			return invalid(fmt.Sprintf("/items/%d", i), err.Error())
		}
	}
	if imp.Propensity != nil && len(imp.Propensity) != len(imp.Items) {
		return invalid("/propensity", "must have one entry for each item")
	}
	for i, p := range imp.Propensity {
		if !(p > 0 && p <= 1) {
			return invalid(fmt.Sprintf("/propensity/%d", i), "must be above 0 and at most 1")
		}
	}
	for i, x := range imp.Scores {
		if !finite(x) {
			return invalid(fmt.Sprintf("/items/%d/relevancy", i), notFinite)
		}
	}
	if len(imp.Experiments) > maxFields {
		return tooLarge("/experiments", maxFields, "experiments")
	}
	for name, arm := range imp.Experiments {
		if CheckID(name) != nil || CheckID(arm) != nil {
			return invalid("/experiments", "each name and each arm "+errID.Error())
		}
	}
	return CheckContext(imp.Context)
}

// CheckContext checks the context of a request or of an impression. Every ranking logs its context,
// so all names and values together are bounded.
func CheckContext(context map[string]ranker.FieldValue) *ranker.EventError {
	if err := checkFields("/context", context, MaxContextKeys); err != nil {
		return err
	}
	bytes := 0
	for name, v := range context {
		bytes += len(name) + len(v.Str) + 8*len(v.Nums)
		for _, s := range v.List {
			bytes += len(s)
		}
	}
	if bytes > MaxContextBytes {
		return &ranker.EventError{
			Code: "too_large", Pointer: "/context",
			Message: fmt.Sprintf("names and values have %d bytes; at most %d together are "+
				"allowed: send what describes the request, and texts as items", bytes,
				MaxContextBytes),
		}
	}
	return nil
}

// CheckFields checks the fields of an item or a user. pointer is where they are.
func CheckFields(pointer string, fields map[string]ranker.FieldValue) *ranker.EventError {
	return checkFields(pointer, fields, maxFields)
}

func checkFields(
	pointer string,
	fields map[string]ranker.FieldValue,
	limit int,
) *ranker.EventError {
	if len(fields) > limit {
		return tooLarge(pointer, limit, "fields")
	}
	for name, v := range fields {
		if checkName(name, maxName, errID) != nil {
			return invalid(pointer, "the name of a field must be 1 to 64 bytes of printable UTF-8")
		}
		at := func() string { return pointer + "/" + pointerEscaper.Replace(name) }
		if v.Kind == ranker.NoValue {
			return invalid(at(), "must have a value")
		}
		if len(v.Str) > maxText {
			return tooLarge(at(), maxText, "bytes")
		}
		if len(v.List) > maxList || len(v.Nums) > maxList {
			return tooLarge(at(), maxList, "values")
		}
		for _, s := range v.List {
			if len(s) > maxTitle {
				return tooLarge(at(), maxTitle, "bytes for each value")
			}
		}
		if !finite(v.Num) ||
			slices.ContainsFunc(v.Nums, func(x float64) bool { return !finite(x) }) {
			return invalid(at(), notFinite)
		}
	}
	return nil
}

// pointerEscaper escapes a name for a JSON pointer (RFC 6901).
var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

func tooLarge(pointer string, limit int, unit string) *ranker.EventError {
	return &ranker.EventError{
		Code:    "too_large",
		Pointer: pointer,
		Message: fmt.Sprintf("must have at most %d %s", limit, unit),
	}
}

// finite reports whether x is finite as a float32, as which features and counts keep it.
func finite(x float64) bool { return math.Abs(x) <= math.MaxFloat32 }

const notFinite = "must be a number within ±3.4e38"
