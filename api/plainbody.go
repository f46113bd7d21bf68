package api

import (
	"slices"
	"time"

	"relish/features/event"
	"relish/ranker"
)

// plainBody reads the usual form of a body of /recommend in one pass and without reflection, which
// took longer than the ranking of its candidates.
//
// It refuses nothing: where it meets anything but its small part of JSON, it gives up, and decode
// reads the body from the beginning. So all rules about bodies, and all errors, are those of
// decode. What it reads, it reads as decode does.
//
// It knows all fields. It gives up at a number with an exponent or more than 15 digits, an escape
// of half a surrogate pair, a list with values of different kinds, and a repeated or unknown name.
type plainBody struct {
	plainReader
	ids     []byte // of all candidates, one after the other
	ends    []int  // by candidate: where its id ends in ids
	objects bool   // some candidate is an object
	content plainContent
	items   []ranker.Item // memory for the items of the body's next candidates
}

// itemsAtOnce is for how many candidates memory for their content is allocated at a time.
const itemsAtOnce = 16

// read fills b and reports whether it knows the whole body. It leaves b undefined if not.
func (p *plainBody) read(data []byte, b *recommendBody) bool {
	if !p.document(data, func(name []byte) (uint, bool) { return p.member(name, b) }) {
		return false
	}
	p.setIDs(b.Candidates)
	// An error in an object has another place than one in an id.
	return !p.objects || !slices.ContainsFunc(b.Candidates, func(c ranker.Candidate) bool {
		return event.CheckID(c.ID) != nil
	})
}

// document reads a body that is one object, see object.
func (p *plainBody) document(data []byte, member func(name []byte) (uint, bool)) bool {
	if len(data) > maxKeptBuffer {
		return false // the buffers, which are kept, would grow with the body
	}
	p.data, p.at, p.ids, p.ends, p.objects = data, 0, p.ids[:0], p.ends[:0], false
	ok := p.object(member)
	p.items = nil // for the body's candidates only
	p.space()
	return ok && p.at == len(p.data)
}

// setIDs sets the ids of all candidates. They are parts of one string.
func (p *plainBody) setIDs(candidates []ranker.Candidate) {
	ids, from := string(p.ids), 0
	for i, end := range p.ends {
		c := &candidates[i]
		c.ID = ids[from:end]
		if c.Inline != nil {
			c.Inline.ID = c.ID
		}
		from = end
	}
}

// member reads the value of a member of the body. It returns a number of its own for each name, by
// which object finds repeated names. Null says nothing.
func (p *plainBody) member(name []byte, b *recommendBody) (field uint, ok bool) {
	field = uint(slices.Index(recommendFields, string(name)))
	if field >= uint(len(recommendFields)) {
		return 0, false
	}
	if recommendFields[field] != "candidates" && p.null() {
		return field, true
	}
	switch recommendFields[field] {
	case "candidates":
		ok = p.candidates(b)
	case "user_id":
		ok = p.text(&b.UserID)
	case "session":
		ok = p.text(&b.Session)
	case "model":
		ok = p.text(&b.Model)
	case "record":
		var record bool
		record, ok = p.boolean()
		b.Record = &record
	case "limit":
		ok = p.whole(&b.Limit)
	case "deadline_ms":
		ok = p.whole(&b.DeadlineMS)
	case "context":
		b.Context, ok = p.context()
	case "explain":
		ok = p.explain(&b.Explain)
	case "seed":
		var seed *int
		if ok = p.whole(&seed); ok {
			b.Seed = new(int64(*seed))
		}
	case "time":
		var ms int64
		ms, ok = p.millis()
		ok = ok && event.CheckTime(ms, time.Now().UnixMilli()) == nil
		b.Time = timestamp(ms)
	}
	return field, ok
}

// recommendFields are the names of recommendBody.
var recommendFields = []string{
	"user_id", "candidates", "record", "limit", "deadline_ms", "session", "model", "context",
	"explain", "seed", "time",
}

func (p *plainBody) candidates(b *recommendBody) bool {
	return p.list(func() bool {
		var c ranker.Candidate
		if p.peek() == '"' {
			if !p.id() {
				return false
			}
		} else if !p.candidate(&c) {
			return false
		}
		return p.addCandidate(&b.Candidates, c)
	})
}

// id reads a candidate's id.
func (p *plainBody) id() bool {
	id, ok := p.bytes()
	p.ids = append(p.ids, id...)
	return ok
}

// addCandidate adds a candidate whose id was read last. It returns false if there are too many.
func (p *plainBody) addCandidate(list *candidateList, c ranker.Candidate) bool {
	if len(*list) == maxCandidates {
		return false
	}
	if *list == nil {
		*list = make([]ranker.Candidate, 0, p.expectedCandidates())
	}
	p.ends = append(p.ends, len(p.ids))
	*list = append(*list, c)
	return true
}

// expectedCandidates guesses from the first candidate how many there are. Candidates are of similar
// lengths, and the guess errs on the large side.
func (p *plainBody) expectedCandidates() int {
	const shortest = 4 // quotes, comma and a letter
	return min(maxCandidates, 1+(len(p.data)-p.at)/max(shortest, len(p.ids)+2))
}

// candidate reads a candidate that is an object. Its id is added to ids, and checked at the end.
func (p *plainBody) candidate(c *ranker.Candidate) bool {
	var title, text, tags textRange
	var hasTags, hasFields bool
	p.objects = true
	p.content.reset()
	ok := p.object(func(name []byte) (field uint, ok bool) {
		switch string(name) {
		case "id":
			return 0, p.id()
		case "score":
			return 1, p.score(c)
		case "title":
			title, ok = p.plainText()
			return 2, ok
		case "text":
			text, ok = p.plainText()
			return 3, ok
		case "tags":
			if hasTags = !p.null(); hasTags {
				tags, ok = p.textList()
			}
			return 4, ok || !hasTags
		case "fields":
			hasFields = !p.null()
			return 5, !hasFields || p.members()
		}
		return 0, false
	})
	if !ok || len(p.content.text) == 0 && !hasTags && !hasFields {
		return ok
	}
	p.content.complete()
	b := candidateBody{Title: p.content.string(title), Text: p.content.string(text)}
	if hasTags {
		b.Tags = p.content.list(tags)
	}
	if hasFields {
		b.Fields, ok = p.content.values()
	}
	if len(p.items) == 0 {
		p.items = make([]ranker.Item, itemsAtOnce)
	}
	var err error
	c.Inline, p.items = &p.items[0], p.items[1:]
	*c.Inline, err = b.inline("")
	return ok && err == nil
}

// score reads a candidate's score, or null for none.
func (p *plainBody) score(c *ranker.Candidate) bool {
	if p.null() {
		return true
	}
	var x float64
	ok := p.number(&x)
	c.Score, c.HasScore = float32(x), true
	return ok && c.Score-c.Score == 0 // not infinite as a float32
}

// context reads an object of values.
func (p *plainBody) context() (values map[string]ranker.FieldValue, ok bool) {
	p.content.reset()
	if !p.members() {
		return nil, false
	}
	p.content.complete()
	return p.content.values()
}

func (p *plainBody) explain(out *explainCount) bool {
	if c := p.peek(); c == 't' || c == 'f' {
		all, ok := p.boolean()
		if all {
			*out = defaultExplain
		}
		return ok
	}
	var n *int
	if !p.whole(&n) || *n < 1 || *n > maxExplain {
		return false
	}
	*out = explainCount(*n)
	return true
}
