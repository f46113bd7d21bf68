package event

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"

	"relish/ranker"
)

func encodeList(l *ranker.ScoredList) *logList {
	if l == nil {
		return nil
	}
	w := &logList{
		Candidates: l.Candidates, Removed: l.Removed,
		Others: l.Others, OtherScores: l.OtherScores, MissingOthers: l.MissingOthers,
		MissingInline: l.MissingInline, Stats: encodeStats(l.Stats),
	}
	for i := range l.Inline {
		it := &l.Inline[i]
		w.Inline = append(w.Inline, logInline{
			Item: it.ID, Title: it.Title, Text: it.Text, Tags: it.Tags, Fields: it.Fields,
		})
	}
	return w
}

func decodeList(w *logList) (*ranker.ScoredList, error) {
	if w == nil {
		return nil, nil
	}
	if w.OtherScores != nil && len(w.OtherScores) != len(w.Others) {
		return nil, errors.New("answer.list.scores must have one score for each of others")
	}
	stats, err := decodeStats(w.Stats)
	if err != nil {
		return nil, err
	}
	l := &ranker.ScoredList{
		Candidates: w.Candidates, Removed: w.Removed,
		Others: w.Others, OtherScores: w.OtherScores, MissingOthers: w.MissingOthers,
		MissingInline: w.MissingInline, Stats: stats,
	}
	for _, it := range w.Inline {
		l.Inline = append(l.Inline, ranker.Item{
			ID: it.Item, Title: it.Title, Text: it.Text, Tags: it.Tags, Fields: it.Fields,
		})
	}
	return l, nil
}

func encodeStats(stats []float64) string {
	raw := make([]byte, 0, 8*len(stats))
	for _, x := range stats {
		raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(x))
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func decodeStats(s string) ([]float64, error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw)%8 != 0 {
		return nil, errors.New("answer.list.stats is not base64 of float64 values")
	}
	var stats []float64
	for ; len(raw) > 0; raw = raw[8:] {
		stats = append(stats, math.Float64frombits(binary.LittleEndian.Uint64(raw)))
	}
	return stats, nil
}
