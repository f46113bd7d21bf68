package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/go-json-experiment/json"

	"relish/ranker"
)

// probeMagic begins probe.bin. The length of a JSON document follows as uint32, then the document
// (probeDocument), then the numbers of all cases without gaps: feature columns and vectors as
// float32, scores as float64. All numbers are little-endian.
const probeMagic = "RLPROBE1"

type probeDocument struct {
	Text  ranker.TextSpec `json:"text"` // how the texts of items are composed
	Cases []encodedCase   `json:"cases"`
}

type encodedCase struct {
	User           string                       `json:"user"`
	Session        string                       `json:"session"`
	Context        map[string]ranker.FieldValue `json:"context"`
	Now            int64                        `json:"now"`
	UserFields     map[string]ranker.FieldValue `json:"user_fields"`
	Candidates     []probeCandidate             `json:"candidates"`
	Recent         []probeInteraction           `json:"recent"`
	Shown          []probeShown                 `json:"shown"`
	Query          string                       `json:"query"`
	QueryIsSet     bool                         `json:"query_is_set"`
	QueryHasVector bool                         `json:"query_found"`
	Columns        int                          `json:"columns"` // feature cells of one candidate
	Dim            int                          `json:"dim"`     // of a vector; 0 without vectors
}

type probeCandidate struct {
	ID        string     `json:"id"`
	New       bool       `json:"new"`
	Score     *float32   `json:"score"`
	Item      *probeItem `json:"item"`
	HasVector bool       `json:"found"`
	// Shown and Actions are the item's counts; 0 in a file from before they were recorded.
	Shown   float64 `json:"shown,omitzero"`
	Actions float64 `json:"actions,omitzero"`
}

type probeInteraction struct {
	Item      string     `json:"item"`
	Action    string     `json:"action"`
	Time      int64      `json:"time"`
	Value     float32    `json:"value"`
	ItemInfo  *probeItem `json:"known"`
	HasVector bool       `json:"found"`
}

type probeShown struct {
	Item    string `json:"item"`
	Time    int64  `json:"time"`
	Clicked bool   `json:"clicked"`
}

type probeItem struct {
	ID     string                       `json:"id"`
	Title  string                       `json:"title"`
	Text   string                       `json:"text"`
	Tags   []string                     `json:"tags"`
	Fields map[string]ranker.FieldValue `json:"fields"`
}

// EncodeProbe encodes probe.bin. spec says how the texts of the items are composed.
func EncodeProbe(spec ranker.TextSpec, cases []ProbeCase) ([]byte, error) {
	doc := probeDocument{Text: spec}
	e := &probeEncoder{spec: spec}
	for i := range cases {
		doc.Cases = append(doc.Cases, e.add(&cases[i]))
		if e.err != nil {
			return nil, fmt.Errorf("probe %d: %w", i, e.err)
		}
	}
	head, err := json.Marshal(&doc, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	out := binary.LittleEndian.AppendUint32([]byte(probeMagic), uint32(len(head)))
	out = append(append(out, head...), e.numbers...)
	if _, err := DecodeProbe(out); err != nil { // it checks the bounds
		return nil, err
	}
	return out, nil
}

type probeEncoder struct {
	spec    ranker.TextSpec
	numbers []byte
	dim     int   // of the vectors of this case, 0 before the first vector
	err     error // the first error
}

func (e *probeEncoder) add(c *ProbeCase) (w encodedCase) {
	in, s, r := &c.Input, c.Input.State, c.Input.Request
	n, h := len(r.Candidates), len(s.Recent)
	if n == 0 || len(s.Items) != n || len(in.ItemVectors) != n || len(c.Scores) != n ||
		len(s.Columns)%n != 0 || len(s.RecentItems) != h || len(in.RecentVectors) != h {
		e.err = errors.New("items, vectors, scores and columns must be aligned with the " +
			"candidates, " +
			"recent items and their vectors with the recent interactions")
		return w
	}
	w = encodedCase{
		User:       r.User,
		Session:    r.Session,
		Context:    r.Context,
		Now:        in.Now,
		UserFields: s.UserFields,
		Columns:    len(s.Columns) / n,
	}
	e.dim = 0
	e.floats(s.Columns)
	for i, cand := range r.Candidates {
		p := probeCandidate{
			ID:        cand.ID,
			New:       cand.ColdStart,
			Item:      e.item(s.Items[i]),
			HasVector: e.vector(in.ItemVectors[i]),
		}
		if cand.HasScore {
			p.Score = &cand.Score
		}
		if i < len(s.Counts) {
			p.Shown, p.Actions = s.Counts[i].Shown, s.Counts[i].Actions
		}
		w.Candidates = append(w.Candidates, p)
	}
	for i, a := range s.Recent {
		w.Recent = append(w.Recent, probeInteraction{
			Item:      a.Item,
			Action:    a.Action,
			Time:      a.Time,
			Value:     a.Value,
			ItemInfo:  e.item(s.RecentItems[i]),
			HasVector: e.vector(in.RecentVectors[i]),
		})
	}
	for _, x := range s.Shown {
		w.Shown = append(w.Shown, probeShown(x))
	}
	if in.Query != nil {
		w.Query, w.QueryIsSet = in.Query.Title(), true
	}
	w.QueryHasVector = e.vector(in.QueryVector)
	for _, x := range c.Scores {
		e.numbers = binary.LittleEndian.AppendUint64(e.numbers, math.Float64bits(x))
	}
	w.Dim = e.dim
	return w
}

func (e *probeEncoder) item(it *ranker.ItemInfo) *probeItem {
	if it == nil {
		return nil
	}
	item := it.Item()
	if ranker.NewItemInfo(item, e.spec).TextKey != it.TextKey && e.err == nil {
		e.err = fmt.Errorf("item %q: its text key does not fit the text spec %v", it.ID, e.spec)
	}
	return &probeItem{item.ID, item.Title, item.Text, item.Tags, item.Fields}
}

// vector appends a vector, unless it is nil, and reports whether it did.
func (e *probeEncoder) vector(v []float32) bool {
	if v == nil {
		return false
	}
	if e.dim != 0 && len(v) != e.dim && e.err == nil {
		e.err = fmt.Errorf("vectors of one case have %d and %d dimensions; they must be equal",
			e.dim, len(v))
	}
	e.dim = len(v)
	e.floats(v)
	return true
}

func (e *probeEncoder) floats(xs []float32) {
	for _, x := range xs {
		e.numbers = binary.LittleEndian.AppendUint32(e.numbers, math.Float32bits(x))
	}
}
