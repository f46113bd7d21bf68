package replay

import "relish/ranker"

// ServedRequest returns the request of an impression, with everything that the impression recorded
// of the list that was scored: the other candidates, retrieval scores and inline content. Its
// candidates are the impression's items; of repeated ones the first counts.
func ServedRequest(e *ranker.Event) *ranker.Request {
	var ids []string
	seen := make(map[string]bool, len(e.Impression.Items))
	for _, id := range e.Impression.Items {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return servedRequest(e, ids)
}

// servedRequest is ServedRequest for an impression with the distinct items ids.
func servedRequest(e *ranker.Event, ids []string) *ranker.Request {
	impression := e.Impression
	req := newRequest(e, ids)
	req.Context = impression.Context
	setScores(req.Candidates, impression.Items, impression.Scores)
	list := impression.Scored
	if list == nil {
		return req
	}
	others := newCandidates(list.Others)
	setScores(others, list.Others, list.OtherScores)
	req.List = &ranker.ReplayedList{
		Others: others, Stats: list.Stats, Items: impression.Items,
		SchemaHash: impression.SchemaHash,
	}
	inline := make(map[string]*ranker.Item, len(list.Inline))
	for i := range list.Inline {
		inline[list.Inline[i].ID] = &list.Inline[i]
	}
	for _, candidates := range [][]ranker.Candidate{req.Candidates, others} {
		for i := range candidates {
			candidates[i].Inline = inline[candidates[i].ID]
		}
	}
	return req
}

// newRequest returns a request for the items at the time of the event.
func newRequest(e *ranker.Event, ids []string) *ranker.Request {
	return &ranker.Request{
		ID: e.ID, User: e.UserID, Session: e.Session, Time: e.Time, Candidates: newCandidates(ids),
		Deadline: OfflineDeadline,
	}
}

func newCandidates(ids []string) []ranker.Candidate {
	out := make([]ranker.Candidate, len(ids))
	for i, id := range ids {
		out[i].ID = id
	}
	return out
}

// setScores sets the retriever's scores of candidates. ids are aligned with scores; the first of
// repeated ids counts, and 0 is no score.
func setScores(candidates []ranker.Candidate, ids []string, scores []float64) {
	if scores == nil {
		return
	}
	byID := make(map[string]float64, len(ids))
	for i, id := range ids {
		if _, again := byID[id]; !again {
			byID[id] = scores[i]
		}
	}
	for i := range candidates {
		c := &candidates[i]
		if score := byID[c.ID]; score != 0 {
			c.Score, c.HasScore = float32(score), true
		}
	}
}
