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

	"relish/ranker"
)

// logEvent is the form of an event in the log. The names of its members are part of the file
// format: old logs must stay readable, so a member keeps its name when the Go field gets a better
// one.
type logEvent struct {
	clientEvent
	Scores   []float64  `json:"scores,omitzero"`
	Replace  bool       `json:"replace,omitzero"`
	Imported bool       `json:"imported,omitzero"`
	Source   string     `json:"source,omitzero"`
	UserHash string     `json:"user_hash,omitzero"`
	Table    string     `json:"table,omitzero"`
	Digest   string     `json:"digest,omitzero"`
	Answer   *logAnswer `json:"answer,omitzero"`
}

// logAnswer is the part of an impression that only a list ranked by Relish has.
type logAnswer struct {
	SchemaHash string   `json:"schema,omitzero"`
	StateHash  string   `json:"state,omitzero"`
	Degraded   []string `json:"degraded,omitzero"`
	StateSeq   uint64   `json:"state_seq"`
	TookMs     float64  `json:"took_ms,omitzero"`
	MatrixHash string   `json:"matrix_hash"`
	Replayable bool     `json:"whole,omitzero"`
	Scored     *logList `json:"list,omitzero"`
	Matrix     string   `json:"matrix,omitzero"` // base64 of little-endian float32

	Exposed            []string          `json:"exposed,omitzero"`
	Fallback           map[string]string `json:"fallback,omitzero"`
	ExperimentsVersion string            `json:"allocation,omitzero"`
	Interleaved        *logInterleaved   `json:"interleaved,omitzero"`
}

// logList is ranker.ScoredList.
type logList struct {
	Candidates    int         `json:"candidates"`
	Removed       int         `json:"removed,omitzero"`
	Others        []string    `json:"others,omitzero"`
	OtherScores   []float64   `json:"scores,omitzero"`
	MissingOthers int         `json:"missing_others,omitzero"`
	Inline        []logInline `json:"inline,omitzero"`
	MissingInline int         `json:"missing_inline,omitzero"`
	Stats         string      `json:"stats,omitzero"` // base64 of little-endian float64
}

// logInline is the content of one candidate that the request held.
type logInline struct {
	Item   string                       `json:"item"`
	Title  string                       `json:"title,omitzero"`
	Text   string                       `json:"text,omitzero"`
	Tags   []string                     `json:"tags,omitzero"` // nil: the request said nothing
	Fields map[string]ranker.FieldValue `json:"fields,omitzero"`
}

type logInterleaved struct {
	Experiment string    `json:"experiment"`
	Arms       [2]string `json:"arms"`
	// Teams has one letter for each item: a for the first arm, b for the second.
	Teams string `json:"teams"`
}

// AppendLog appends the event's form in the log to dst. Equal events give equal bytes, and
// DecodeLog reads them back. It fails if a number is not finite or a text is not valid UTF-8.
func AppendLog(dst []byte, e *ranker.Event) ([]byte, error) {
	w := newLogEvent(e)
	data, err := json.Marshal(&w, json.Deterministic(true))
	if err != nil {
		return dst, fmt.Errorf("encode %s event for the log: %w", e.Kind, err)
	}
	return append(dst, data...), nil
}

// DecodeLog reads what AppendLog wrote.
func DecodeLog(data []byte) (ranker.Event, error) {
	var w logEvent
	if err := json.Unmarshal(data, &w, strict); err != nil {
		return ranker.Event{}, err
	}
	e := w.event()
	e.Replace, e.UserHash, e.Table, e.Digest = w.Replace, w.UserHash, w.Table, w.Digest
	e.Imported, e.Source = w.Imported, w.Source
	if e.Impression == nil {
		return e, nil
	}
	e.Impression.Scores = w.Scores
	if w.Answer == nil {
		return e, nil
	}
	return e, w.Answer.decode(e.Impression)
}

func newLogEvent(e *ranker.Event) logEvent {
	w := logEvent{
		clientEvent: clientEvent{
			Type: e.Kind, ID: e.ID, Time: timestamp(e.Time),
			Item: e.ItemID, User: e.UserID, Session: e.Session,
			Title: e.Title, Text: e.Text, Tags: e.Tags, Fields: e.Fields,
			Action: e.Action, Impression: e.ImpressionID, Value: e.Value,
		},
		Replace: e.Replace, Imported: e.Imported, Source: e.Source,
		UserHash: e.UserHash, Table: e.Table, Digest: e.Digest,
	}
	imp := e.Impression
	if imp == nil {
		return w
	}
	w.Items, w.Scores, w.Context, w.Propensity = imp.Items, imp.Scores, imp.Context, imp.Propensity
	w.Model, w.Experiments = imp.Model, imp.Experiments
	if imp.Served {
		w.Answer = &logAnswer{
			SchemaHash: imp.SchemaHash, StateHash: imp.StateHash,
			Degraded: imp.Degraded, StateSeq: imp.StateSeq,
			TookMs:     float64(imp.Took.Microseconds()) / 1000,
			MatrixHash: fmt.Sprintf("%016x", imp.MatrixHash), Replayable: imp.Replayable,
			Scored: encodeList(imp.Scored),
			Matrix: encodeMatrix(imp.Matrix), Exposed: imp.Exposed, Fallback: imp.Fallback,
			ExperimentsVersion: imp.ExperimentsVersion, Interleaved: encodeTeams(imp.Interleaved),
		}
	}
	return w
}

// maxTookMs bounds the logged time of one ranking: one day.
const maxTookMs = 24 * 60 * 60 * 1000

// decode sets the part of imp that only a list ranked by Relish has.
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
	if imp.Scored, err = decodeList(a.Scored); err != nil {
		return err
	}
	imp.SchemaHash, imp.StateHash = a.SchemaHash, a.StateHash
	imp.Degraded, imp.StateSeq = a.Degraded, a.StateSeq
	imp.Replayable = a.Replayable
	imp.Took = time.Duration(math.Round(min(max(a.TookMs, 0), maxTookMs)*1000)) * time.Microsecond
	imp.Exposed, imp.Fallback, imp.ExperimentsVersion = a.Exposed, a.Fallback, a.ExperimentsVersion
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
		return nil, errors.New(
			"answer.interleaved.teams must have the letter a or b for every item",
		)
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
