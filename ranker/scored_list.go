package ranker

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// recordScored returns what a replay needs of the request's candidates besides the impression's
// items, which are the given rows. listed is how many candidates the rules left. replayable is
// false if the inline content of an item does not fit: the item's row cannot be computed again.
func recordScored(req *Request, rows []int, listed int) (out *ScoredList, replayable bool) {
	out = &ScoredList{
		Candidates: len(req.Candidates), Removed: len(req.Candidates) - listed,
	}
	others := otherRows(req, rows)
	fitting := fittingOthers(req, others)
	out.MissingOthers = len(others) - len(fitting)
	for _, row := range fitting {
		out.Others = append(out.Others, req.Candidates[row].ID)
	}
	out.OtherScores = scoresOf(req, fitting)
	left := MaxInlineBytes
	replayable = true
	for i, row := range slices.Concat(rows, fitting) {
		c := &req.Candidates[row]
		if c.Inline == nil {
			continue
		}
		if size := inlineBytes(c.Inline); size <= left {
			left -= size
			item := *c.Inline
			item.ID = c.ID
			out.Inline = append(out.Inline, item)
		} else {
			out.MissingInline++
			replayable = replayable && i >= len(rows)
		}
	}
	return out, replayable
}

// otherRows returns the candidates that are not among rows.
func otherRows(req *Request, rows []int) []int {
	shown := make([]bool, len(req.Candidates))
	for _, row := range rows {
		shown[row] = true
	}
	others := make([]int, 0, len(shown)-len(rows))
	for row := range shown {
		if !shown[row] {
			others = append(others, row)
		}
	}
	return others
}

// fittingOthers returns the candidates whose ids fit into MaxOtherBytes together. If not all of
// them do, a hash chooses, so that the rest is a random sample: neither the retriever's order nor
// the scores decide which candidates a replay knows.
func fittingOthers(req *Request, others []int) []int {
	total := 0
	for _, row := range others {
		total += len(req.Candidates[row].ID)
	}
	if total <= MaxOtherBytes {
		return others
	}
	seed := xxhash.Sum64String(req.ID)
	key := func(row int) uint64 { return tieBreak(req.Candidates[row].ID, seed) }
	slices.SortFunc(others, func(a, b int) int { return cmp.Compare(key(a), key(b)) })
	left := MaxOtherBytes
	for i, row := range others {
		if left -= len(req.Candidates[row].ID); left < 0 {
			return others[:i]
		}
	}
	return others
}

// scoresOf returns the retriever's scores of some candidates, nil if none has one.
func scoresOf(req *Request, rows []int) (scores []float64) {
	for i, row := range rows {
		c := &req.Candidates[row]
		if !c.HasScore {
			continue
		}
		if scores == nil {
			scores = make([]float64, len(rows))
		}
		scores[i] = float64(c.Score)
	}
	return scores
}

// inlineBytes returns the size of an item's strings and numbers.
func inlineBytes(it *Item) int {
	n := len(it.Title) + len(it.Text)
	for _, t := range it.Tags {
		n += len(t)
	}
	for name, v := range it.Fields {
		n += len(name) + len(v.Str) + 8*(1+len(v.Nums))
		for _, s := range v.List {
			n += len(s)
		}
	}
	return n
}
