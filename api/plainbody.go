package api

import (
	"strconv"
	"unicode/utf8"

	"relish/ranker"
)

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
	data []byte
	at   int
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
		ok := false
		switch c := p.peek(); {
		case c == '"':
			v.Kind = ranker.String
			ok = p.text(&v.Str)
		case c == 't' || c == 'f':
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

// ---- JSON ----

func (p *plainBody) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// peek returns the first byte of the next token, 0 at the end.
func (p *plainBody) peek() byte {
	if p.space(); p.at == len(p.data) {
		return 0
	}
	return p.data[p.at]
}

// take reports whether the next token is the character c, and goes beyond it.
func (p *plainBody) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

// object reads an object by calling member after each name. member returns a number below 64 for
// the name; a name may come once.
func (p *plainBody) object(member func(name []byte) (uint, bool)) bool {
	seen := uint64(0)
	return p.eachMember(func(name []byte) bool {
		field, ok := member(name)
		repeated := seen&(1<<field) != 0
		seen |= 1 << field
		return ok && !repeated
	})
}

// eachMember reads an object by calling value after each name.
func (p *plainBody) eachMember(value func(name []byte) bool) bool {
	return p.take('{') && p.sequence('}', func() bool {
		name, ok := p.bytes()
		return ok && p.take(':') && value(name)
	})
}

func (p *plainBody) list(value func() bool) bool { return p.take('[') && p.sequence(']', value) }

// sequence reads what commas separate, up to the bracket end.
func (p *plainBody) sequence(end byte, part func() bool) bool {
	if p.take(end) {
		return true
	}
	for part() {
		if p.take(end) {
			return true
		}
		if !p.take(',') {
			return false
		}
	}
	return false
}

// bytes reads a string without escapes. The bytes are those of the body.
func (p *plainBody) bytes() ([]byte, bool) {
	if !p.take('"') {
		return nil, false
	}
	start, ascii := p.at, true
	for ; p.at < len(p.data); p.at++ {
		switch c := p.data[p.at]; {
		case c == '"':
			s := p.data[start:p.at]
			p.at++
			return s, ascii || utf8.Valid(s)
		case c == '\\' || c < ' ':
			return nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false
}

func (p *plainBody) text(out *string) bool {
	s, ok := p.bytes()
	*out = string(s)
	return ok
}

func (p *plainBody) boolean(out **bool) bool {
	p.space()
	for _, v := range []bool{true, false} {
		name := strconv.FormatBool(v)
		if len(p.data)-p.at >= len(name) && string(p.data[p.at:p.at+len(name)]) == name {
			p.at += len(name)
			*out = &v
			return true
		}
	}
	return false
}

// digits goes beyond the digits here, and returns how many there were.
func (p *plainBody) digits() int {
	start := p.at
	for p.at < len(p.data) && p.data[p.at] >= '0' && p.data[p.at] <= '9' {
		p.at++
	}
	return p.at - start
}

// maxPlainDigits bounds the digits of a number on one side of the point. Whole numbers of so many
// digits are exact as a float64.
const maxPlainDigits = 15

// plainDigits reads the digits before a point. A further digit may not follow a leading zero.
func (p *plainBody) plainDigits() bool {
	start := p.at
	n := p.digits()
	return n > 0 && n <= maxPlainDigits && (n == 1 || p.data[start] != '0')
}

// whole reads a whole number of at least 0.
func (p *plainBody) whole(out **int) bool {
	p.space()
	start := p.at
	if !p.plainDigits() || p.at < len(p.data) && (p.data[p.at]|' ' == 'e' || p.data[p.at] == '.') {
		return false
	}
	n, err := strconv.Atoi(string(p.data[start:p.at]))
	*out = &n
	return err == nil
}

// number reads a number without an exponent.
func (p *plainBody) number(out *float64) bool {
	p.space()
	start := p.at
	if p.at < len(p.data) && p.data[p.at] == '-' {
		p.at++
	}
	if !p.plainDigits() {
		return false
	}
	if p.at < len(p.data) && p.data[p.at] == '.' {
		p.at++
		if p.digits() == 0 {
			return false
		}
	}
	if p.at < len(p.data) && p.data[p.at]|' ' == 'e' {
		return false
	}
	x, err := strconv.ParseFloat(string(p.data[start:p.at]), 64)
	*out = x
	return err == nil
}
