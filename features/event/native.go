package event

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/ranker"
)

// clientEvent is the native JSON form of the events that clients send.
type clientEvent struct {
	Type        ranker.EventKind             `json:"type"`
	ID          string                       `json:"id,omitzero"`
	Time        timestamp                    `json:"time,omitzero"`
	Item        string                       `json:"item,omitzero"`
	User        string                       `json:"user,omitzero"`
	Session     string                       `json:"session,omitzero"`
	Title       *string                      `json:"title,omitzero"`
	Text        *string                      `json:"text,omitzero"`
	Tags        TextList                     `json:"tags,omitzero"`
	Fields      map[string]ranker.FieldValue `json:"fields,omitzero"`
	Items       []string                     `json:"items,omitzero"`
	Context     map[string]ranker.FieldValue `json:"context,omitzero"`
	Propensity  []float64                    `json:"propensity,omitzero"`
	Model       string                       `json:"model,omitzero"`
	Experiments map[string]string            `json:"experiments,omitzero"`
	Action      string                       `json:"action,omitzero"`
	Impression  string                       `json:"impression,omitzero"`
	Value       *float64                     `json:"value,omitzero"`
}

// allowedFields are the fields that each kind may have beside type, id and time.
var allowedFields = map[ranker.EventKind]map[string]bool{
	ranker.EventItem: set("item", "title", "text", "tags", "fields"),
	ranker.EventUser: set("user", "fields"),
	ranker.EventImpression: set(
		"user", "session", "items", "context", "propensity", "model", "experiments",
	),
	ranker.EventInteraction: set("user", "session", "item", "action", "impression", "value"),
}

// fieldNames are all fields of a client's event.
var fieldNames = []string{
	"type", "id", "time", "item", "user", "session", "title", "text", "tags", "fields", "items",
	"context", "propensity", "model", "experiments", "action", "impression", "value",
}

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// Decode reads one event in Metarank's form, which has the field "event", or else in the native
// form. It does not call Validate.
func Decode(data []byte) (ranker.Event, *ranker.EventError) { return decode(data, strict) }

func decode(data []byte, opt json.Options) (ranker.Event, *ranker.EventError) {
	var probe struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(data, &probe, jsontext.AllowInvalidUTF8(true)); err != nil {
		return ranker.Event{}, decodeError(err, data, fieldNames)
	}
	if probe.Event != "" {
		return decodeMetarank(data, opt)
	}
	return decodeNative(data, opt)
}

// decodeNative reads one event in the native form that clients send. It does not call Validate.
func decodeNative(data []byte, opt json.Options) (ranker.Event, *ranker.EventError) {
	var w clientEvent
	if err := Unmarshal(data, &w, opt); err != nil {
		return ranker.Event{}, decodeError(err, data, fieldNames)
	}
	allowed, ok := allowedFields[w.Type]
	if w.Type == "" {
		return ranker.Event{}, missing("type", "item, user, impression or interaction")
	}
	if !ok {
		return ranker.Event{}, invalid("/type",
			fmt.Sprintf("unknown type %.40q: use item, user, impression or interaction", w.Type))
	}
	for _, m := range w.setFields() {
		if !allowed[m] {
			return ranker.Event{}, &ranker.EventError{
				Code: "unknown_field", Pointer: "/" + m,
				Message: fmt.Sprintf("an event of type %s has no field %q: remove it", w.Type, m),
			}
		}
	}
	return w.event(), nil
}

// EachName implements Named.
func (w *clientEvent) EachName(yield func(string)) {
	for _, name := range []string{
		string(w.Type), w.ID, w.Item, w.User, w.Session, w.Model, w.Action, w.Impression,
	} {
		yield(name)
	}
	for _, id := range w.Items {
		yield(id)
	}
	for name := range w.Fields {
		yield(name)
	}
	for name := range w.Context {
		yield(name)
	}
	for name, arm := range w.Experiments {
		yield(name)
		yield(arm)
	}
}

// setFields returns the names of the fields that are set, without type, id and time.
func (w *clientEvent) setFields() []string {
	var out []string
	add := func(name string, isSet bool) {
		if isSet {
			out = append(out, name)
		}
	}
	add("item", w.Item != "")
	add("user", w.User != "")
	add("session", w.Session != "")
	add("title", w.Title != nil)
	add("text", w.Text != nil)
	add("tags", w.Tags != nil)
	add("fields", w.Fields != nil)
	add("items", w.Items != nil)
	add("context", w.Context != nil)
	add("propensity", w.Propensity != nil)
	add("model", w.Model != "")
	add("experiments", w.Experiments != nil)
	add("action", w.Action != "")
	add("impression", w.Impression != "")
	add("value", w.Value != nil)
	return out
}

func (w *clientEvent) event() ranker.Event {
	e := ranker.Event{
		Kind: w.Type, ID: w.ID, Time: int64(w.Time),
		ItemID: w.Item, UserID: w.User, Session: w.Session,
		Title: w.Title, Text: w.Text, Tags: w.Tags,
		Fields: ranker.WithoutNulls(w.Fields),
		Action: w.Action, ImpressionID: w.Impression, Value: w.Value,
	}
	if w.Type == ranker.EventImpression {
		e.Impression = &ranker.Impression{
			Items: w.Items, Context: ranker.WithoutNulls(w.Context), Propensity: w.Propensity,
			Model: w.Model, Experiments: w.Experiments,
		}
	}
	return e
}

// AppendNative appends the native form in which clients send the event. It has no place for the
// retriever's scores of an impression, nor for what only the server knows.
func AppendNative(dst []byte, e *ranker.Event) ([]byte, error) {
	w := newLogEvent(e)
	data, err := json.Marshal(&w.clientEvent, json.Deterministic(true))
	if err != nil {
		return dst, fmt.Errorf("encode %s event: %w", e.Kind, err)
	}
	return append(dst, data...), nil
}
