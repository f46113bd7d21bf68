package api

import "relish/ranker"

// plainContent collects the texts and the field values of one candidate, or of one context, and
// makes them of one block of memory: with one string for each of them, a request would cost several
// times as many allocations.
type plainContent struct {
	text   []byte       // one text after the other
	fields []plainField // of an object
	parts  []textRange  // of lists, one after the other
	all    string       // text, once it is complete
}

// Bounds of one candidate's content. Beyond them a body is left to decode, so that the memory,
// which is kept for the next body, stays small.
const (
	maxPlainFields = 1000
	maxPlainParts  = 4000
)

// textRange is where a text stands in plainContent.text.
type textRange struct{ from, to int }

// plainField is a member of an object of values. The strings of value are in text or parts.
type plainField struct {
	name, text textRange
	value      ranker.FieldValue
	parts      textRange // of a list of strings: where they stand in plainContent.parts
}

func (c *plainContent) reset() {
	c.text, c.fields, c.parts, c.all = c.text[:0], c.fields[:0], c.parts[:0], ""
}

// add adds a text, which may be the result of plainReader.bytes.
func (c *plainContent) add(text []byte) textRange {
	from := len(c.text)
	c.text = append(c.text, text...)
	return textRange{from, len(c.text)}
}

// complete makes the texts strings. Nothing may be added any more.
func (c *plainContent) complete() { c.all = string(c.text) }

func (c *plainContent) string(r textRange) string { return c.all[r.from:r.to] }

// list returns a list of texts, which is not nil.
func (c *plainContent) list(r textRange) []string {
	out := make([]string, 0, r.to-r.from)
	for _, part := range c.parts[r.from:r.to] {
		out = append(out, c.string(part))
	}
	return out
}

// values returns the fields as a map. It returns false if a name is repeated.
func (c *plainContent) values() (map[string]ranker.FieldValue, bool) {
	out := make(map[string]ranker.FieldValue, len(c.fields))
	for i := range c.fields {
		f := &c.fields[i]
		v := f.value
		switch v.Kind {
		case ranker.String:
			v.Str = c.string(f.text)
		case ranker.Strings:
			v.List = c.list(f.parts)
		}
		out[c.string(f.name)] = v
	}
	return out, len(out) == len(c.fields)
}

// plainText reads a string, or null for none.
func (p *plainBody) plainText() (r textRange, ok bool) {
	if p.null() {
		return r, true
	}
	text, ok := p.bytes()
	return p.content.add(text), ok
}

// textList reads a list of strings. Null in the list says nothing.
func (p *plainBody) textList() (r textRange, ok bool) {
	r.from = len(p.content.parts)
	ok = p.list(func() bool {
		if p.null() {
			return true
		}
		text, ok := p.bytes()
		p.content.parts = append(p.content.parts, p.content.add(text))
		return ok && len(p.content.parts) <= maxPlainParts
	})
	r.to = len(p.content.parts)
	return r, ok
}

// members reads an object of values into content.fields.
func (p *plainBody) members() bool {
	return p.eachMember(func(name []byte) bool {
		f := plainField{name: p.content.add(name)}
		ok := p.value(&f)
		p.content.fields = append(p.content.fields, f)
		return ok && len(p.content.fields) <= maxPlainFields
	})
}

// value reads the value of a field.
func (p *plainBody) value(f *plainField) (ok bool) {
	v := &f.value
	switch p.peek() {
	case '"':
		v.Kind = ranker.String
		f.text, ok = p.plainText()
	case 't', 'f':
		var b bool
		b, ok = p.boolean()
		*v = ranker.BoolValue(b)
	case 'n':
		ok = p.null()
	case '[':
		return p.valueList(f)
	default:
		v.Kind = ranker.Number
		ok = p.number(&v.Num)
	}
	return ok
}

// valueList reads a list of strings or of numbers.
func (p *plainBody) valueList(f *plainField) (ok bool) {
	start := p.at
	if f.parts, ok = p.textList(); ok {
		f.value.Kind = ranker.Strings
		return true
	}
	p.at = start
	f.value.Kind = ranker.Numbers
	return p.list(func() bool {
		if p.null() {
			return true
		}
		var x float64
		ok := p.number(&x)
		f.value.Nums = append(f.value.Nums, x)
		return ok
	})
}
