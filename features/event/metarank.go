package event

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"relish/ranker"
)

// metarankEvent is an event of any kind in Metarank's form (doc/event-schema.md of Metarank).
type metarankEvent struct {
	Event     string          `json:"event"`
	ID        string          `json:"id"`
	Timestamp timestamp       `json:"timestamp"`
	Item      string          `json:"item"`
	User      string          `json:"user"`
	Session   string          `json:"session"`
	Ranking   string          `json:"ranking"`
	Type      string          `json:"type"`
	Tenant    string          `json:"tenant"`
	Fields    []metarankField `json:"fields"`
	Items     []metarankItem  `json:"items"`
}

type metarankField struct {
	Name  string            `json:"name"`
	Value ranker.FieldValue `json:"value"`
}

type metarankItem struct {
	ID        string          `json:"id"`
	Relevancy *float64        `json:"relevancy"`
	Label     *float64        `json:"label"`
	Fields    []metarankField `json:"fields"`
}

// metarankFieldNames are the fields of metarankEvent.
var metarankFieldNames = []string{
	"event", "id", "timestamp", "item", "user", "session", "ranking", "type", "tenant", "fields",
	"items",
}

// DecodeMetarank reads one event in Metarank's form. It ignores tenants, labels and the fields of
// interactions. It does not call Validate.
func DecodeMetarank(data []byte) (ranker.Event, *ranker.EventError) {
	return decodeMetarank(data, strict)
}

func decodeMetarank(data []byte, opt json.Options) (ranker.Event, *ranker.EventError) {
	var m metarankEvent
	if err := Unmarshal(data, &m, opt); err != nil {
		return ranker.Event{}, decodeError(err, data, metarankFieldNames)
	}
	e := ranker.Event{ID: m.ID, Time: int64(m.Timestamp), UserID: m.User, Session: m.Session}
	if e.UserID == "" {
		e.UserID = m.Session // an anonymous user is identified by their session
	}
	switch m.Event {
	case "item", "metadata":
		e.Kind, e.ItemID = ranker.EventItem, m.Item
		e.UserID, e.Session = "", ""
		m.fillItem(&e)
	case "user":
		e.Kind, e.Fields = ranker.EventUser, fieldMap(m.Fields)
	case "ranking", "":
		e.Kind, e.Impression = ranker.EventImpression, m.impression()
	case "interaction":
		e.Kind, e.ItemID = ranker.EventInteraction, m.Item
		e.Action, e.ImpressionID = m.Type, m.Ranking
	default:
		return ranker.Event{}, invalid("/event",
			fmt.Sprintf("unknown event %.40q: use item, user, ranking or interaction", m.Event))
	}
	return e, nil
}

// EachName implements Named.
func (m *metarankEvent) EachName(yield func(string)) {
	for _, name := range []string{m.Event, m.ID, m.Item, m.User, m.Session, m.Ranking, m.Type} {
		yield(name)
	}
	for _, f := range m.Fields {
		yield(f.Name)
	}
	for _, it := range m.Items {
		yield(it.ID)
	}
}

// textFields are the fields that can hold an item's text, the preferred one first. If an item has
// several, the others stay fields.
var textFields = []string{"text", "description", "overview"}

// fillItem sets title, tags and text from the fields with these names. The others stay fields.
func (m *metarankEvent) fillItem(e *ranker.Event) {
	fields := fieldMap(m.Fields)
	take := func(name string, kinds ...ranker.ValueKind) (ranker.FieldValue, bool) {
		v, ok := fields[name]
		if ok = ok && slices.Contains(kinds, v.Kind); ok {
			delete(fields, name)
		}
		return v, ok
	}
	if v, ok := take("title", ranker.String); ok {
		e.Title = &v.Str
	}
	if v, ok := take("tags", ranker.String, ranker.Strings); ok {
		e.Tags = v.AsStrings() // a single tag may come as a plain string
	}
	for _, name := range textFields {
		if v, ok := take(name, ranker.String); ok {
			e.Text = &v.Str
			break
		}
	}
	if len(fields) > 0 {
		e.Fields = fields
	}
}

// impression returns the list, with the retriever's scores if any item has one.
func (m *metarankEvent) impression() *ranker.Impression {
	imp := &ranker.Impression{Context: scalars(m.Fields)}
	for i, it := range m.Items {
		imp.Items = append(imp.Items, it.ID)
		score, ok := it.score()
		if !ok {
			continue
		}
		if imp.Scores == nil {
			imp.Scores = make([]float64, len(m.Items))
		}
		imp.Scores[i] = score
	}
	return imp
}

// score returns the item's relevancy, which Metarank also accepts as a field. Zero counts as
// unknown, because Metarank's examples send it for that.
func (it *metarankItem) score() (float64, bool) {
	if it.Relevancy != nil && *it.Relevancy != 0 {
		return *it.Relevancy, true
	}
	for _, f := range it.Fields {
		if f.Name == "relevancy" && f.Value.Kind == ranker.Number && f.Value.Num != 0 {
			return f.Value.Num, true
		}
	}
	return 0, false
}

func fieldMap(fields []metarankField) map[string]ranker.FieldValue {
	out := make(map[string]ranker.FieldValue, len(fields))
	for _, f := range fields {
		out[f.Name] = f.Value
	}
	return ranker.WithoutNulls(out)
}

// scalars returns the fields that a request context may have: numbers, booleans and strings.
func scalars(fields []metarankField) map[string]ranker.FieldValue {
	var out map[string]ranker.FieldValue
	for _, f := range fields {
		switch f.Value.Kind {
		case ranker.Strings, ranker.Numbers, ranker.NoValue:
			continue
		}
		if out == nil {
			out = map[string]ranker.FieldValue{}
		}
		out[f.Name] = f.Value
	}
	return out
}
