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

// Bounds of one event. They are far above honest use and keep one event from costing much.
const (
	MaxID      = 256
	maxName    = 64
	maxTitle   = 4 << 10
	maxText    = 64 << 10
	maxTags    = 256
	maxTag     = 256
	maxFields  = 128
	maxList    = 512
	maxShown   = 5000
	maxContext = 32
)

var errID = errors.New("must be 1 to 256 bytes of printable UTF-8")

// CheckID reports whether id is 1 to 256 bytes of printable, valid UTF-8.
func CheckID(id string) error { return checkName(id, MaxID, errID) }

func checkName(s string, limit int, bad error) error {
	if s == "" || len(s) > limit || !utf8.ValidString(s) {
		return bad
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return bad
		}
	}
	return nil
}

// Validate checks everything that can be known from the event alone.
func Validate(e *ranker.Event) *ranker.EventError {
	if err := checkIDs(e); err != nil {
		return err
	}
	if e.Time < 0 {
		return &ranker.EventError{Code: "invalid_field", Pointer: "/time", Message: "must not be before 1970"}
	}
	switch e.Kind {
	case ranker.EventItem:
		return checkItem(e)
	case ranker.EventUser:
		return checkFields("/fields", e.Fields, maxFields)
	case ranker.EventImpression:
		return checkImpression(e.Impression)
	case ranker.EventInteraction:
		if checkName(e.Action, maxName, errID) != nil {
			return &ranker.EventError{Code: "missing_field", Pointer: "/action", Message: "must name what the user did, 1 to 64 printable bytes"}
		}
		if e.Value != nil && !finite(*e.Value) {
			return &ranker.EventError{Code: "invalid_field", Pointer: "/value", Message: "must be finite"}
		}
	case ranker.EventTable:
		return checkTable(e)
	}
	return nil
}

// tableName is what a table may be called: it is a part of file and column names.
var tableName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckTableName reports whether name can name a table.
func CheckTableName(name string) error {
	if !tableName.MatchString(name) {
		return errors.New("must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
	}
	return nil
}

func checkTable(e *ranker.Event) *ranker.EventError {
	if err := CheckTableName(e.Table); err != nil {
		return &ranker.EventError{Code: "invalid_field", Pointer: "/table", Message: err.Error()}
	}
	if sum, err := hex.DecodeString(e.Digest); err != nil || len(sum) != sha256.Size {
		return &ranker.EventError{Code: "invalid_field", Pointer: "/digest", Message: "must be 64 hexadecimal digits"}
	}
	return nil
}

// ids checks the ids that the kind needs and the optional ones that are there.
func checkIDs(e *ranker.Event) *ranker.EventError {
	type id struct {
		pointer, value string
		need           bool
	}
	for _, f := range []id{
		{"/id", e.ID, true},
		{"/item", e.ItemID, e.Kind == ranker.EventItem || e.Kind == ranker.EventInteraction || e.Kind == ranker.EventDelete},
		{"/user", e.UserID, e.Kind == ranker.EventUser || e.Kind == ranker.EventImpression || e.Kind == ranker.EventInteraction},
		{"/session", e.Session, false},
		{"/impression", e.ImpressionID, false},
		{"/model", modelOf(e), false},
	} {
		if f.value == "" && !f.need {
			continue
		}
		if f.value == "" {
			return &ranker.EventError{Code: "missing_field", Pointer: f.pointer, Message: "is required: " + errID.Error()}
		}
		if err := CheckID(f.value); err != nil {
			return &ranker.EventError{Code: "invalid_field", Pointer: f.pointer, Message: err.Error()}
		}
	}
	return nil
}

func modelOf(e *ranker.Event) string {
	if e.Impression == nil {
		return ""
	}
	return e.Impression.Model
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
	return checkFields("/fields", e.Fields, maxFields)
}

func checkImpression(imp *ranker.Impression) *ranker.EventError {
	if imp == nil || len(imp.Items) == 0 {
		return &ranker.EventError{Code: "missing_field", Pointer: "/items", Message: "must name at least one item that was shown"}
	}
	if len(imp.Items) > maxShown {
		return tooLarge("/items", maxShown, "items")
	}
	for i, id := range imp.Items {
		if err := CheckID(id); err != nil {
			return &ranker.EventError{Code: "invalid_field", Pointer: fmt.Sprintf("/items/%d", i), Message: err.Error()}
		}
	}
	if imp.Propensity != nil && len(imp.Propensity) != len(imp.Items) {
		return &ranker.EventError{Code: "invalid_field", Pointer: "/propensity", Message: "must have one entry per item"}
	}
	for i, p := range imp.Propensity {
		if !(p > 0 && p <= 1) {
			return &ranker.EventError{Code: "invalid_field", Pointer: fmt.Sprintf("/propensity/%d", i), Message: "must be above 0 and at most 1"}
		}
	}
	for i, x := range imp.Scores {
		if !finite(x) {
			return &ranker.EventError{Code: "invalid_field", Pointer: fmt.Sprintf("/items/%d/relevancy", i), Message: "must be finite"}
		}
	}
	if len(imp.Experiments) > maxFields {
		return tooLarge("/experiments", maxFields, "experiments")
	}
	for name, arm := range imp.Experiments {
		if CheckID(name) != nil || CheckID(arm) != nil {
			return &ranker.EventError{Code: "invalid_field", Pointer: "/experiments", Message: "names and arms " + errID.Error()}
		}
	}
	return checkFields("/context", imp.Context, maxContext)
}

func checkFields(pointer string, fields map[string]ranker.FieldValue, limit int) *ranker.EventError {
	if len(fields) > limit {
		return tooLarge(pointer, limit, "fields")
	}
	for name, v := range fields {
		if checkName(name, maxName, errID) != nil {
			return &ranker.EventError{Code: "invalid_field", Pointer: pointer, Message: "a field's name must be 1 to 64 printable bytes"}
		}
		at := pointer + "/" + pointerEscaper.Replace(name)
		if v.Kind == ranker.NoValue {
			return &ranker.EventError{Code: "invalid_field", Pointer: at, Message: "has no value"}
		}
		if len(v.Str) > maxText {
			return tooLarge(at, maxText, "bytes")
		}
		if len(v.List) > maxList || len(v.Nums) > maxList {
			return tooLarge(at, maxList, "values")
		}
		for _, s := range v.List {
			if len(s) > maxTitle {
				return tooLarge(at, maxTitle, "bytes a value")
			}
		}
		if !finite(v.Num) || slices.ContainsFunc(v.Nums, func(x float64) bool { return !finite(x) }) {
			return &ranker.EventError{Code: "invalid_field", Pointer: at, Message: "must be finite"}
		}
	}
	return nil
}

// pointerEscaper is RFC 6901's escaping of a name in a JSON pointer.
var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

func tooLarge(pointer string, limit int, unit string) *ranker.EventError {
	return &ranker.EventError{Code: "too_large", Pointer: pointer, Message: fmt.Sprintf("must have at most %d %s", limit, unit)}
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
