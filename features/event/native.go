package event

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/ranker"
)

// clientEvent is the native JSON form of the events that clients may send.
type clientEvent struct {
	Type        ranker.EventKind             `json:"type"`
	ID          string                       `json:"id,omitzero"`
	Time        timestamp                    `json:"time,omitzero"`
	Item        string                       `json:"item,omitzero"`
	User        string                       `json:"user,omitzero"`
	Session     string                       `json:"session,omitzero"`
	Title       *string                      `json:"title,omitzero"`
	Text        *string                      `json:"text,omitzero"`
	Tags        []string                     `json:"tags,omitzero"`
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

// logEvent is the form in the log, which has members of its own.
type logEvent struct {
	clientEvent
	Scores   []float64  `json:"scores,omitzero"`
	Replace  bool       `json:"replace,omitzero"`
	UserHash string     `json:"user_hash,omitzero"`
	Table    string     `json:"table,omitzero"`
	Digest   string     `json:"digest,omitzero"`
	Answer   *logAnswer `json:"answer,omitzero"`
}

type logAnswer struct {
	SchemaHash string   `json:"schema,omitzero"`
	Degraded   []string `json:"degraded,omitzero"`
	StateSeq   uint64   `json:"state_seq"`
	TookMs     float64  `json:"took_ms,omitzero"`
	MatrixHash string   `json:"matrix_hash"`
	Replayable bool     `json:"whole,omitzero"`
	Matrix     string   `json:"matrix,omitzero"` // base64 of little-endian float32

	Exposed     []string          `json:"exposed,omitzero"`
	Fallback    map[string]string `json:"fallback,omitzero"`
	Allocation  string            `json:"allocation,omitzero"`
	Interleaved *logInterleaved   `json:"interleaved,omitzero"`
}

type logInterleaved struct {
	Experiment string    `json:"experiment"`
	Arms       [2]string `json:"arms"`
	Teams      string    `json:"teams"` // a letter an item: a is the first arm, b the second
}

// allowedMembers says which members each outside kind may have, beside type, id and time.
var allowedMembers = map[ranker.EventKind]map[string]bool{
	ranker.EventItem:        set("item", "title", "text", "tags", "fields"),
	ranker.EventUser:        set("user", "fields"),
	ranker.EventImpression:  set("user", "session", "items", "context", "propensity", "model", "experiments"),
	ranker.EventInteraction: set("user", "session", "item", "action", "impression", "value"),
}

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// strict refuses unknown members; json/v2 itself refuses duplicate members, other cases and bad UTF-8.
var strict = json.RejectUnknownMembers(true)

// DecodeNative reads one native event as a client may send it. It does not Validate.
func DecodeNative(data []byte) (ranker.Event, *ranker.EventError) {
	var w clientEvent
	if err := json.Unmarshal(data, &w, strict); err != nil {
		return ranker.Event{}, decodeError(err)
	}
	allowed, ok := allowedMembers[w.Type]
	if !ok {
		return ranker.Event{}, &ranker.EventError{Code: "invalid_field", Pointer: "/type", Message: fmt.Sprintf("type %.40q is unknown; it is item, user, impression or interaction", w.Type)}
	}
	for _, m := range w.present() {
		if !allowed[m] {
			return ranker.Event{}, &ranker.EventError{Code: "unknown_field", Pointer: "/" + m, Message: fmt.Sprintf("an event of type %s has no member %s", w.Type, m)}
		}
	}
	return w.event(), nil
}

// present names the members that are set, other than type, id and time.
func (w *clientEvent) present() []string {
	var out []string
	add := func(name string, set bool) {
		if set {
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

// DecodeLog reads one event as the log holds it.
func DecodeLog(data []byte) (ranker.Event, error) {
	var w logEvent
	if err := json.Unmarshal(data, &w, strict); err != nil {
		return ranker.Event{}, err
	}
	return w.decode()
}

// AppendLog appends the event's canonical native JSON, which DecodeLog reads back, to dst: the same
// bytes for the same event. The error is about numbers that are not finite or text that is not UTF-8.
func AppendLog(dst []byte, e *ranker.Event) ([]byte, error) {
	w := newLogEvent(e)
	data, err := json.Marshal(&w, json.Deterministic(true))
	if err != nil {
		return dst, fmt.Errorf("event %s: %w", e.Kind, err)
	}
	return append(dst, data...), nil
}

func newLogEvent(e *ranker.Event) logEvent {
	w := logEvent{clientEvent: clientEvent{Type: e.Kind, ID: e.ID, Time: timestamp(e.Time), Item: e.ItemID,
		User: e.UserID, Session: e.Session, Title: e.Title, Text: e.Text, Tags: e.Tags, Fields: e.Fields,
		Action: e.Action, Impression: e.ImpressionID, Value: e.Value},
		Replace: e.Replace, UserHash: e.UserHash, Table: e.Table, Digest: e.Digest}
	imp := e.Impression
	if imp == nil {
		return w
	}
	w.Items, w.Scores, w.Context, w.Propensity = imp.Items, imp.Scores, imp.Context, imp.Propensity
	w.Model, w.Experiments = imp.Model, imp.Experiments
	if imp.Served {
		w.Answer = &logAnswer{SchemaHash: imp.SchemaHash, Degraded: imp.Degraded, StateSeq: imp.StateSeq,
			TookMs: float64(imp.Took.Microseconds()) / 1000, MatrixHash: fmt.Sprintf("%016x", imp.MatrixHash),
			Replayable: imp.Replayable, Matrix: encodeMatrix(imp.Matrix), Exposed: imp.Exposed,
			Fallback: imp.Fallback, Allocation: imp.ExperimentsVersion, Interleaved: encodeTeams(imp.Interleaved)}
	}
	return w
}

func (w *clientEvent) event() ranker.Event {
	e := ranker.Event{Kind: w.Type, ID: w.ID, Time: int64(w.Time), ItemID: w.Item, UserID: w.User,
		Session: w.Session, Title: w.Title, Text: w.Text, Tags: w.Tags, Fields: w.Fields,
		Action: w.Action, ImpressionID: w.Impression, Value: w.Value}
	if w.Type == ranker.EventImpression {
		e.Impression = &ranker.Impression{Items: w.Items, Context: w.Context, Propensity: w.Propensity,
			Model: w.Model, Experiments: w.Experiments}
	}
	return e
}

func (w *logEvent) decode() (ranker.Event, error) {
	e := w.event()
	e.Replace, e.UserHash, e.Table, e.Digest = w.Replace, w.UserHash, w.Table, w.Digest
	if e.Impression == nil {
		return e, nil
	}
	e.Impression.Scores = w.Scores
	if w.Answer == nil {
		return e, nil
	}
	return e, w.Answer.decode(e.Impression)
}

// maxTookMs bounds the logged time of one ranking: one day.
const maxTookMs = 24 * 60 * 60 * 1000

// decode sets the parts of imp that only a served list has.
func (a *logAnswer) decode(imp *ranker.Impression) (err error) {
	imp.Served = true
	if imp.MatrixHash, err = strconv.ParseUint(a.MatrixHash, 16, 64); err != nil {
		return errors.New("answer.matrix_hash is not hexadecimal")
	}
	if imp.Matrix, err = decodeMatrix(a.Matrix); err != nil {
		return err
	}
	if imp.Interleaved, err = decodeTeams(a.Interleaved, len(imp.Items)); err != nil {
		return err
	}
	imp.SchemaHash, imp.Degraded, imp.StateSeq, imp.Replayable = a.SchemaHash, a.Degraded, a.StateSeq, a.Replayable
	imp.Took = time.Duration(math.Round(min(max(a.TookMs, 0), maxTookMs)*1000)) * time.Microsecond
	imp.Exposed, imp.Fallback, imp.ExperimentsVersion = a.Exposed, a.Fallback, a.Allocation
	return nil
}

func encodeTeams(in *ranker.Interleaved) *logInterleaved {
	if in == nil {
		return nil
	}
	letters := make([]byte, len(in.Teams))
	for i, t := range in.Teams {
		letters[i] = 'a' + t
	}
	return &logInterleaved{Experiment: in.Experiment, Arms: in.Arms, Teams: string(letters)}
}

func decodeTeams(w *logInterleaved, items int) (*ranker.Interleaved, error) {
	if w == nil {
		return nil, nil
	}
	if len(w.Teams) != items || strings.Trim(w.Teams, "ab") != "" {
		return nil, errors.New("answer.interleaved.teams must have an a or a b for every item")
	}
	in := &ranker.Interleaved{Experiment: w.Experiment, Arms: w.Arms, Teams: make([]uint8, items)}
	for i := range in.Teams {
		in.Teams[i] = w.Teams[i] - 'a'
	}
	return in, nil
}

func encodeMatrix(m []float32) string {
	if len(m) == 0 {
		return ""
	}
	raw := make([]byte, 0, 4*len(m))
	for _, x := range m {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func decodeMatrix(s string) ([]float32, error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw)%4 != 0 {
		return nil, errors.New("answer.matrix is not base64 of float32 values")
	}
	if len(raw) == 0 {
		return nil, nil
	}
	m := make([]float32, len(raw)/4)
	for i := range m {
		m[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return m, nil
}

// timestamp is a time in Unix ms that reads RFC 3339 or a number of ms, and writes the number.
type timestamp int64

// UnmarshalJSONFrom implements json's interface.
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

// maxMillis is the end of year 9999, the last time RFC 3339 can write.
const maxMillis = 253402300799999

var errTime = errors.New("must be RFC 3339 or a whole number of Unix milliseconds")

// ParseTime reads RFC 3339 or a decimal number of Unix milliseconds.
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

// decodeError turns the JSON library's error into ours: the reason without the user's data.
func decodeError(err error) *ranker.EventError {
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) {
		return &ranker.EventError{Code: "malformed", Pointer: pointer(syn.JSONPointer), Message: "not valid JSON: " + syntaxReason(syn.Err)}
	}
	var sem *json.SemanticError
	if errors.As(err, &sem) {
		e := &ranker.EventError{Code: "invalid_field", Pointer: pointer(sem.JSONPointer)}
		switch {
		case errors.Is(sem.Err, json.ErrUnknownName):
			e.Code, e.Message = "unknown_field", "this member is unknown"
		case errors.Is(sem.Err, strconv.ErrRange):
			e.Message = "the number is out of range"
		case sem.Err != nil:
			e.Message = sem.Err.Error()
		default:
			e.Message = "must not be " + jsonKindName(sem.JSONKind)
		}
		return e
	}
	return &ranker.EventError{Code: "malformed", Message: "not valid JSON"}
}

// maxPointer bounds the pointer of an error, as a member's name may be as long as the body.
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
		return "a member stands twice"
	case err == nil:
		return "it ends early"
	}
	return err.Error()
}
