package api

import (
	"errors"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/features/event"
	"relish/ranker"
)

// Bounds of the candidates.
const (
	maxCandidates = 5000
	maxTextBytes  = 64 << 10 // of title and text together
)

// candidateList reads candidates that are ids or objects. It stops at the first one too many, so
// that a huge list is refused without decoding it all.
type candidateList []ranker.Candidate

// candidateBody is a candidate given as an object. All but id and score hold for this request only.
type candidateBody struct {
	ID     string                       `json:"id"`
	Title  string                       `json:"title"`
	Text   string                       `json:"text"`
	Tags   event.TextList               `json:"tags"`
	Fields map[string]ranker.FieldValue `json:"fields"`
	Score  *float64                     `json:"score"` // the retriever's own score
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (cs *candidateList) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		return errors.New("must be a list of item ids or of objects with an id")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if len(*cs) == maxCandidates {
			return errTooManyItems
		}
		c, err := readCandidate(dec, len(*cs))
		if err != nil {
			return err
		}
		*cs = append(*cs, c)
	}
	_, err := dec.ReadToken()
	return err
}

// readCandidate reads the candidate at position i of the list.
func readCandidate(dec *jsontext.Decoder, i int) (c ranker.Candidate, err error) {
	if dec.PeekKind() == '"' {
		tok, err := dec.ReadToken()
		if err != nil {
			return c, err
		}
		c.ID = tok.String()
		return c, nil
	}
	pointer := "/candidates/" + strconv.Itoa(i)
	if k := dec.PeekKind(); k != '{' && k != 0 { // 0: not valid JSON
		return c, errInvalidField.at(pointer,
			"must be an item id (string) or an object, not %s", kindName(k))
	}
	var b candidateBody
	if err := json.UnmarshalDecode(dec, &b, json.RejectUnknownMembers(true)); err != nil {
		return c, err
	}
	return b.candidate(pointer)
}

// candidate checks the fields and returns the candidate. pointer is its place in the body.
func (b *candidateBody) candidate(pointer string) (c ranker.Candidate, err error) {
	if c.ID = b.ID; c.ID == "" {
		return c, errMissingField.at(pointer+"/id", "id is required: send the id of the item")
	}
	if err := event.CheckID(c.ID); err != nil {
		return c, errInvalidField.at(pointer+"/id", "id %s", err)
	}
	if b.Score != nil {
		if c.Score = float32(*b.Score); c.Score-c.Score != 0 { // infinite as a float32
			return c, errInvalidField.at(pointer+"/score",
				"score must be within ±3.4e38, not %g", *b.Score)
		}
		c.HasScore = true
	}
	if b.Title != "" || b.Text != "" || b.Tags != nil || b.Fields != nil {
		c.Inline = new(ranker.Item)
		*c.Inline, err = b.inline(pointer)
	}
	return c, err
}

// inline checks and returns what the candidate has besides id and score.
func (b *candidateBody) inline(pointer string) (it ranker.Item, err error) {
	if n := len(b.Title) + len(b.Text); n > maxTextBytes {
		return it, errInvalidField.at(pointer,
			"title and text have %d bytes; at most %s together are allowed", n,
			thousands(maxTextBytes))
	}
	fields := ranker.WithoutNulls(b.Fields)
	if invalid := event.CheckFields(pointer+"/fields", fields); invalid != nil {
		return it, invalid
	}
	return ranker.Item{
		ID: b.ID, Title: b.Title, Text: b.Text, Tags: b.Tags, Fields: fields,
	}, nil
}

// maxKeptIDs is the number of ids up to which a map of them is kept for another request. To clear a
// large map takes longer.
const maxKeptIDs = 512

// seenIDs holds empty maps for deduplicate.
var seenIDs = sync.Pool{New: func() any { return map[string]struct{}{} }}

// deduplicate checks the ids and keeps the first candidate of each. It reuses the list's memory.
// field is the list's name in the body, and id the path from an entry to its id.
func deduplicate(cs []ranker.Candidate, field, id string) ([]ranker.Candidate, error) {
	if len(cs) == 0 {
		return nil, errMissingField.at("/"+field,
			"%s is required: send at least one item", field)
	}
	seen := seenIDs.Get().(map[string]struct{})
	defer func() {
		if clear(seen); len(cs) <= maxKeptIDs {
			seenIDs.Put(seen)
		}
	}()
	out := cs[:0]
	for i, c := range cs {
		if err := event.CheckID(c.ID); err != nil {
			return nil, errInvalidField.at("/"+field+"/"+strconv.Itoa(i)+id, "id %s", err)
		}
		if _, repeated := seen[c.ID]; repeated {
			continue
		}
		seen[c.ID] = struct{}{}
		out = append(out, c)
	}
	return out, nil
}
