package api

import "relish/ranker"

// plainBody reads the usual form of a body of /recommend in one pass and without reflection, which
// took longer than the ranking of its candidates.
//
// It refuses nothing: where it meets anything but its small part of JSON, it gives up, and decode
// reads the body from the beginning. So all rules about bodies, and all errors, are those of
// decode. What it reads, it reads as decode does.
//
// It knows the fields of recommendBody but time, candidates that are ids or objects, and numbers,
// booleans and strings as values of fields and context. It gives up at a backslash, null, a list as
// a value, a number with an exponent, and a repeated or unknown name.
type plainBody struct {
	plainReader
	ids  []byte // of all candidates, one after the other
	ends []int  // by candidate: where its id ends in ids
}

// read fills b and reports whether it knows the whole body. It leaves b undefined if not.
func (p *plainBody) read(data []byte, b *recommendBody) bool {
	if len(data) > maxKeptBuffer {
		return false // the buffers, which are kept, would grow with the body
	}
	p.data, p.at, p.ids, p.ends = data, 0, p.ids[:0], p.ends[:0]
	ok := p.object(func(name []byte) (uint, bool) { return p.member(name, b) })
	if p.space(); !ok || p.at != len(p.data) {
		return false
	}
	// One string for the ids of all candidates.
	ids, from := string(p.ids), 0
	for i, end := range p.ends {
		c := &b.Candidates[i]
		c.ID = ids[from:end]
		if c.Inline != nil {
			c.Inline.ID = c.ID
		}
		from = end
	}
	return true
}

// member reads the value of a member of the body. It returns a number of its own for each name, by
// which object finds repeated names.
func (p *plainBody) member(name []byte, b *recommendBody) (field uint, ok bool) {
	switch string(name) {
	case "user_id":
		return 0, p.text(&b.UserID)
	case "candidates":
		return 1, p.candidates(b)
	case "record":
		return 2, p.boolean(&b.Record)
	case "limit":
		return 3, p.whole(&b.Limit)
	case "deadline_ms":
		return 4, p.whole(&b.DeadlineMS)
	case "session":
		return 5, p.text(&b.Session)
	case "model":
		return 6, p.text(&b.Model)
	case "context":
		return 7, p.values(&b.Context)
	case "explain":
		return 8, p.explain(&b.Explain)
	case "seed":
		var seed *int
		ok := p.whole(&seed)
		if ok {
			b.Seed = new(int64(*seed))
		}
		return 9, ok
	}
	return 0, false
}

func (p *plainBody) candidates(b *recommendBody) bool {
	return p.list(func() bool {
		if len(b.Candidates) == maxCandidates {
			return false
		}
		var c ranker.Candidate
		if p.peek() == '"' {
			id, ok := p.bytes()
			p.ids = append(p.ids, id...)
			if !ok {
				return false
			}
		} else if !p.candidate(&c) {
			return false
		}
		if b.Candidates == nil {
			b.Candidates = make([]ranker.Candidate, 0, p.expectedCandidates())
		}
		p.ends = append(p.ends, len(p.ids))
		b.Candidates = append(b.Candidates, c)
		return true
	})
}

// expectedCandidates guesses from the first candidate how many there are. Plain ids are of similar
// lengths, and the guess errs on the large side.
func (p *plainBody) expectedCandidates() int {
	const shortest = 4 // quotes, comma and a letter
	return min(maxCandidates, 1+(len(p.data)-p.at)/max(shortest, len(p.ids)+2))
}

// candidate reads a candidate that is an object. Its id is left to read.
func (p *plainBody) candidate(c *ranker.Candidate) bool {
	var b candidateBody
	ok := p.object(func(name []byte) (uint, bool) {
		switch string(name) {
		case "id":
			id, ok := p.bytes()
			p.ids = append(p.ids, id...)
			b.ID = string(id)
			return 0, ok
		case "score":
			b.Score = new(float64)
			return 1, p.number(b.Score)
		case "title":
			return 2, p.text(&b.Title)
		case "text":
			return 3, p.text(&b.Text)
		case "fields":
			return 4, p.values(&b.Fields)
		}
		return 0, false
	})
	if !ok || b.ID == "" {
		return false
	}
	var err error
	*c, err = b.candidate("")
	return err == nil
}

func (p *plainBody) values(out *map[string]ranker.FieldValue) bool {
	*out = map[string]ranker.FieldValue{}
	return p.eachMember(func(name []byte) bool {
		var v ranker.FieldValue
		var ok bool
		switch p.peek() {
		case '"':
			v.Kind = ranker.String
			ok = p.text(&v.Str)
		case 't', 'f':
			var b *bool
			if ok = p.boolean(&b); ok {
				v = ranker.BoolValue(*b)
			}
		default:
			v.Kind = ranker.Number
			ok = p.number(&v.Num)
		}
		if _, repeated := (*out)[string(name)]; repeated || !ok {
			return false
		}
		(*out)[string(name)] = v
		return true
	})
}

func (p *plainBody) explain(out *explainCount) bool {
	if c := p.peek(); c == 't' || c == 'f' {
		var b *bool
		ok := p.boolean(&b)
		if ok && *b {
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
