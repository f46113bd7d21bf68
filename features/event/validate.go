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
func (e *Event) Validate() *EventError {
	if err := e.ids(); err != nil {
		return err
	}
	if e.Time < 0 {
		return &EventError{Code: "invalid_field", Pointer: "/time", Message: "must not be before 1970"}
	}
	switch e.Kind {
	case EventItem:
		return e.validateItem()
	case EventUser:
		return checkFields("/fields", e.Fields, maxFields)
	case EventImpression:
		return e.validateImpression()
	case EventInteraction:
		if checkName(e.Action, maxName, errID) != nil {
			return &EventError{Code: "missing_field", Pointer: "/action", Message: "must name what the user did, 1 to 64 printable bytes"}
		}
		if e.Value != nil && !finite(*e.Value) {
			return &EventError{Code: "invalid_field", Pointer: "/value", Message: "must be finite"}
		}
	case EventTable:
		return e.validateTable()
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

func (e *Event) validateTable() *EventError {
	if err := CheckTableName(e.Table); err != nil {
		return &EventError{Code: "invalid_field", Pointer: "/table", Message: err.Error()}
	}
	if sum, err := hex.DecodeString(e.Digest); err != nil || len(sum) != sha256.Size {
		return &EventError{Code: "invalid_field", Pointer: "/digest", Message: "must be 64 hexadecimal digits"}
	}
	return nil
}

// ids checks the ids that the kind needs and the optional ones that are there.
func (e *Event) ids() *EventError {
	type id struct {
		pointer, value string
		need           bool
	}
	for _, f := range []id{
		{"/id", e.ID, true},
		{"/item", e.ItemID, e.Kind == EventItem || e.Kind == EventInteraction || e.Kind == EventDelete},
		{"/user", e.UserID, e.Kind == EventUser || e.Kind == EventImpression || e.Kind == EventInteraction},
		{"/session", e.Session, false},
		{"/impression", e.ImpressionID, false},
		{"/model", e.Model, false},
	} {
		if f.value == "" && !f.need {
			continue
		}
		if f.value == "" {
			return &EventError{Code: "missing_field", Pointer: f.pointer, Message: "is required: " + errID.Error()}
		}
		if err := CheckID(f.value); err != nil {
			return &EventError{Code: "invalid_field", Pointer: f.pointer, Message: err.Error()}
		}
	}
	return nil
}

func (e *Event) validateItem() *EventError {
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

func (e *Event) validateImpression() *EventError {
	if len(e.Shown) == 0 {
		return &EventError{Code: "missing_field", Pointer: "/items", Message: "must name at least one item that was shown"}
	}
	if len(e.Shown) > maxShown {
		return tooLarge("/items", maxShown, "items")
	}
	for i, id := range e.Shown {
		if err := CheckID(id); err != nil {
			return &EventError{Code: "invalid_field", Pointer: fmt.Sprintf("/items/%d", i), Message: err.Error()}
		}
	}
	if e.Propensity != nil && len(e.Propensity) != len(e.Shown) {
		return &EventError{Code: "invalid_field", Pointer: "/propensity", Message: "must have one entry per item"}
	}
	for i, p := range e.Propensity {
		if !(p > 0 && p <= 1) {
			return &EventError{Code: "invalid_field", Pointer: fmt.Sprintf("/propensity/%d", i), Message: "must be above 0 and at most 1"}
		}
	}
	for i, x := range e.Scores {
		if !finite(x) {
			return &EventError{Code: "invalid_field", Pointer: fmt.Sprintf("/items/%d/relevancy", i), Message: "must be finite"}
		}
	}
	if len(e.Experiments) > maxFields {
		return tooLarge("/experiments", maxFields, "experiments")
	}
	for name, arm := range e.Experiments {
		if CheckID(name) != nil || CheckID(arm) != nil {
			return &EventError{Code: "invalid_field", Pointer: "/experiments", Message: "names and arms " + errID.Error()}
		}
	}
	return checkFields("/context", e.Context, maxContext)
}

func checkFields(pointer string, fields map[string]ranker.FieldValue, limit int) *EventError {
	if len(fields) > limit {
		return tooLarge(pointer, limit, "fields")
	}
	for name, v := range fields {
		if checkName(name, maxName, errID) != nil {
			return &EventError{Code: "invalid_field", Pointer: pointer, Message: "a field's name must be 1 to 64 printable bytes"}
		}
		at := pointer + "/" + pointerEscaper.Replace(name)
		if v.Kind == ranker.NoValue {
			return &EventError{Code: "invalid_field", Pointer: at, Message: "has no value"}
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
			return &EventError{Code: "invalid_field", Pointer: at, Message: "must be finite"}
		}
	}
	return nil
}

// pointerEscaper is RFC 6901's escaping of a name in a JSON pointer.
var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

func tooLarge(pointer string, limit int, unit string) *EventError {
	return &EventError{Code: "too_large", Pointer: pointer, Message: fmt.Sprintf("must have at most %d %s", limit, unit)}
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
