package api

import (
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"relish/features/event"
)

// plainReader reads the tokens of a JSON document, as far as plainBody knows them. Methods that
// return a bool return false for anything else; the position is undefined then.
type plainReader struct {
	data      []byte
	at        int    // where the next token or the blanks before it begin
	unescaped []byte // memory for a string with escapes
}

func (p *plainReader) space() {
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
func (p *plainReader) peek() byte {
	if p.space(); p.at == len(p.data) {
		return 0
	}
	return p.data[p.at]
}

// take reports whether the next token is the character c, and goes beyond it.
func (p *plainReader) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

// object reads an object by calling member after each name. member returns a number below 64 for
// the name; a name may come once.
func (p *plainReader) object(member func(name []byte) (uint, bool)) bool {
	seen := uint64(0)
	return p.eachMember(func(name []byte) bool {
		field, ok := member(name)
		repeated := seen&(1<<field) != 0
		seen |= 1 << field
		return ok && !repeated
	})
}

// eachMember reads an object by calling value after each name.
func (p *plainReader) eachMember(value func(name []byte) bool) bool {
	return p.take('{') && p.sequence('}', func() bool {
		name, ok := p.bytes()
		return ok && p.take(':') && value(name)
	})
}

func (p *plainReader) list(value func() bool) bool { return p.take('[') && p.sequence(']', value) }

// sequence reads what commas separate, up to the bracket end.
func (p *plainReader) sequence(end byte, part func() bool) bool {
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

// bytes reads a string. The bytes are valid until the next call.
func (p *plainReader) bytes() ([]byte, bool) {
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
		case c == '\\':
			return p.withEscapes(start)
		case c < ' ':
			return nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false
}

// withEscapes reads the rest of a string that begins at start. The position is at its first escape.
func (p *plainReader) withEscapes(start int) ([]byte, bool) {
	for ; p.at < len(p.data) && p.data[p.at] != '"'; p.at++ {
		if p.data[p.at] == '\\' {
			p.at++
		}
	}
	if p.at >= len(p.data) {
		return nil, false
	}
	p.at++
	var err error
	p.unescaped, err = jsontext.AppendUnquote(p.unescaped[:0], p.data[start-1:p.at])
	return p.unescaped, err == nil
}

// null reports whether the next token is null, and goes beyond it.
func (p *plainReader) null() bool {
	if p.peek() != 'n' || len(p.data)-p.at < 4 || string(p.data[p.at:p.at+4]) != "null" {
		return false
	}
	p.at += 4
	return true
}

// millis reads a time as a number or a string. It does not check its range.
func (p *plainReader) millis() (ms int64, ok bool) {
	var text []byte
	if p.peek() == '"' {
		text, ok = p.bytes()
	} else {
		start := p.at
		ok = p.plainDigits() && !p.inNumber()
		text = p.data[start:p.at]
	}
	if !ok {
		return 0, false
	}
	ms, err := event.ParseTime(string(text))
	return ms, err == nil
}

func (p *plainReader) text(out *string) bool {
	s, ok := p.bytes()
	*out = string(s)
	return ok
}

func (p *plainReader) boolean() (value, ok bool) {
	p.space()
	for _, v := range []bool{true, false} {
		name := strconv.FormatBool(v)
		if len(p.data)-p.at >= len(name) && string(p.data[p.at:p.at+len(name)]) == name {
			p.at += len(name)
			return v, true
		}
	}
	return false, false
}

// digits goes beyond the digits here, and returns how many there were.
func (p *plainReader) digits() int {
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
func (p *plainReader) plainDigits() bool {
	start := p.at
	n := p.digits()
	return n > 0 && n <= maxPlainDigits && (n == 1 || p.data[start] != '0')
}

// inNumber reports whether a point or an exponent follows.
func (p *plainReader) inNumber() bool {
	return p.at < len(p.data) && (p.data[p.at]|' ' == 'e' || p.data[p.at] == '.')
}

// whole reads a whole number of at least 0.
func (p *plainReader) whole(out **int) bool {
	p.space()
	start := p.at
	if !p.plainDigits() || p.inNumber() {
		return false
	}
	n, err := strconv.Atoi(string(p.data[start:p.at]))
	*out = &n
	return err == nil
}

// number reads a number without an exponent.
func (p *plainReader) number(out *float64) bool {
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
