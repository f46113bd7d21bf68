package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/go-json-experiment/json"

	"relish/ranker"
)

// DecodeProbe decodes probe.bin. Whatever the data says, it takes no more memory than a few times
// the data's size.
func DecodeProbe(data []byte) ([]ProbeCase, error) {
	cases, err := decodeProbe(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ProbeFile, err)
	}
	return cases, nil
}

func decodeProbe(data []byte) ([]ProbeCase, error) {
	if len(data) > maxProbeBytes {
		return nil, fmt.Errorf("the file has %d bytes; the maximum is %d", len(data), maxProbeBytes)
	}
	rest, ok := bytes.CutPrefix(data, []byte(probeMagic))
	if !ok || len(rest) < 4 {
		return nil, fmt.Errorf("the file does not begin with %s: it is damaged, or from another "+
			"version of relish",
			probeMagic)
	}
	size := binary.LittleEndian.Uint32(rest)
	rest = rest[4:]
	if uint64(size) > uint64(len(rest)) {
		return nil, errors.New("the file is truncated: copy the bundle again")
	}
	var doc probeDocument
	if err := json.Unmarshal(rest[:size], &doc, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if n := len(doc.Cases); n == 0 || n > MaxProbeCases {
		return nil, fmt.Errorf("the file has %d cases; 1 to %d are allowed", n, MaxProbeCases)
	}
	d := &probeDecoder{spec: doc.Text, numbers: rest[size:]}
	var cases []ProbeCase
	for i := range doc.Cases {
		if err := doc.Cases[i].check(); err != nil {
			return nil, fmt.Errorf("case %d: %w", i, err)
		}
		cases = append(cases, d.nextCase(&doc.Cases[i]))
	}
	if d.short || len(d.numbers) > 0 {
		return nil, errors.New("the file has fewer or more numbers than its cases need: copy the " +
			"bundle again")
	}
	return cases, nil
}

// check checks the bounds of a case before memory is allocated for it.
func (w *encodedCase) check() error {
	if n := len(w.Candidates); n == 0 || n > MaxProbeCandidates {
		return fmt.Errorf("%d candidates; 1 to %d are allowed", n, MaxProbeCandidates)
	}
	if len(w.Recent) > maxProbeHistory || len(w.Shown) > maxProbeHistory {
		return fmt.Errorf("%d recent interactions and %d shown items; at most %d of each are "+
			"allowed",
			len(w.Recent), len(w.Shown), maxProbeHistory)
	}
	if w.Columns < 0 || w.Columns > maxProbeColumns || w.Dim < 0 || w.Dim > maxProbeDim {
		return fmt.Errorf("%d columns and %d dimensions; at most %d and %d are allowed",
			w.Columns, w.Dim, maxProbeColumns, maxProbeDim)
	}
	return nil
}

// probeDecoder reads the numbers of the cases one after the other.
type probeDecoder struct {
	spec    ranker.TextSpec
	numbers []byte
	short   bool // the data has fewer numbers than were read
}

// nextCase decodes a case; its numbers come next.
func (d *probeDecoder) nextCase(w *encodedCase) ProbeCase {
	n := len(w.Candidates)
	r := &ranker.Request{User: w.User, Session: w.Session, Context: w.Context}
	s := &ranker.RequestState{
		UserFields: w.UserFields,
		ItemsRead:  n,
		Columns:    d.floats(n * w.Columns),
	}
	in := ranker.SignalInput{Request: r, State: s, Now: w.Now}
	for _, p := range w.Candidates {
		c := ranker.Candidate{ID: p.ID, ColdStart: p.New}
		if p.Score != nil {
			c.Score, c.HasScore = *p.Score, true
		}
		r.Candidates = append(r.Candidates, c)
		s.Items = append(s.Items, d.item(p.Item))
		s.Counts = append(s.Counts, ranker.ItemCounts{Shown: p.Shown, Actions: p.Actions})
		in.ItemVectors = append(in.ItemVectors, d.vector(p.HasVector, w.Dim))
	}
	for _, p := range w.Recent {
		s.Recent = append(s.Recent,
			ranker.Interaction{Item: p.Item, Action: p.Action, Time: p.Time, Value: p.Value})
		s.RecentItems = append(s.RecentItems, d.item(p.ItemInfo))
		in.RecentVectors = append(in.RecentVectors, d.vector(p.HasVector, w.Dim))
	}
	for _, p := range w.Shown {
		s.Shown = append(s.Shown, ranker.Shown(p))
	}
	if w.QueryIsSet {
		in.Query = ranker.NewItemInfo(ranker.Item{Title: w.Query}, ranker.TextSpec{"title"})
	}
	in.QueryVector = d.vector(w.QueryHasVector, w.Dim)
	c := ProbeCase{Input: in}
	if raw := d.take(8 * n); raw != nil {
		for i := range n {
			c.Scores = append(c.Scores, math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])))
		}
	}
	return c
}

func (d *probeDecoder) item(p *probeItem) *ranker.ItemInfo {
	if p == nil {
		return nil
	}
	return ranker.NewItemInfo(
		ranker.Item{ID: p.ID, Title: p.Title, Text: p.Text, Tags: p.Tags, Fields: p.Fields},
		d.spec,
	)
}

func (d *probeDecoder) vector(found bool, dim int) []float32 {
	if !found {
		return nil
	}
	return d.floats(dim)
}

func (d *probeDecoder) floats(n int) []float32 {
	raw := d.take(4 * n)
	if raw == nil {
		return nil
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

// take returns the next n bytes, nil if there are fewer.
func (d *probeDecoder) take(n int) []byte {
	if n > len(d.numbers) {
		d.short = true
		return nil
	}
	raw := d.numbers[:n]
	d.numbers = d.numbers[n:]
	return raw
}
