package api

import (
	"bytes"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/features/event"
)

// valueReader splits a body into the values of its events.
type valueReader struct {
	data []byte
	at   int
	n    int // values so far
	use  func(value []byte, line int)

	// Of a body without an array.
	byLine     bool // each line is a value
	spansLines bool // some value so far spans lines
	line       int  // at countedTo, from 1
	countedTo  int
}

// forEachValue calls use with every value of a body: one object, an array, or one object after
// another. A value that is not valid JSON is passed like the others, so that it costs no other
// value. line is where the value begins, 0 in an array. byLine says that each line is a value.
// Without it, the first value that is not valid decides whether lines are values. forEachValue
// fails if the body as a whole cannot be read.
func forEachValue(data []byte, byLine bool, use func(value []byte, line int)) error {
	r := &valueReader{data: data, use: use, byLine: byLine, line: 1}
	if r.skipSpace(); r.at == len(data) {
		return errMalformed.with(
			"the body is empty: send an event, an array, or one event per line")
	}
	if data[r.at] == '[' {
		return r.readArray()
	}
	for r.at < len(data) {
		if err := r.readNext(); err != nil {
			return err
		}
		r.skipSpace()
	}
	return nil
}

const jsonSpace = " \t\r\n"

func (r *valueReader) skipSpace() {
	r.at = len(r.data) - len(bytes.TrimLeft(r.data[r.at:], jsonSpace))
}

// take passes the value up to end.
func (r *valueReader) take(end, line int) error {
	if r.n++; r.n > maxEvents {
		return errBodyTooLarge.with(
			"more than 50,000 events in one body: split it into several requests")
	}
	r.use(r.data[r.at:end], line)
	r.at = end
	return nil
}

// broken is the error of a body that cannot be split into values.
func (r *valueReader) broken() error {
	var whole jsontext.Value
	err := json.Unmarshal(
		r.data, &whole, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true),
	)
	if err != nil {
		return decodeError(err, r.data)
	}
	return errMalformed.with("send an event, an array of events, or one event per line")
}

// readArray reads the array at the current place, and nothing may follow.
func (r *valueReader) readArray() error {
	r.at++
	for more := false; ; more = true {
		r.skipSpace()
		if r.at < len(r.data) && r.data[r.at] == ']' && !more {
			break
		}
		n, ok := valueLength(r.data[r.at:])
		if !ok {
			return r.broken()
		}
		if err := r.take(r.at+n, 0); err != nil {
			return err
		}
		r.skipSpace()
		if r.at < len(r.data) && r.data[r.at] == ']' {
			break
		}
		if r.at == len(r.data) || r.data[r.at] != ',' {
			return r.broken()
		}
		r.at++
	}
	r.at++
	if r.skipSpace(); r.at < len(r.data) {
		return errMalformed.with(
			"the body goes on after the array: send one array, or one event per line")
	}
	return nil
}

// valueLength returns the length of the value that data begins with. ok is false if it does not
// end.
func valueLength(data []byte) (n int, ok bool) {
	if len(data) > 0 && (data[0] == '{' || data[0] == '[') {
		var scanner event.ValueScanner
		return scanner.Scan(data)
	}
	if len(data) > 0 && data[0] == '"' {
		for n = 1; n < len(data) && data[n] != '"'; n++ {
			if data[n] == '\\' {
				n++
			}
		}
		return n + 1, n < len(data)
	}
	n = bytes.IndexAny(data, ",]"+jsonSpace)
	return n, n > 0
}

// readNext reads the next of the values that follow one another.
func (r *valueReader) readNext() error {
	r.line += bytes.Count(r.data[r.countedTo:r.at], []byte{'\n'})
	r.countedTo = r.at
	rest := r.data[r.at:]
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	n, ok := r.objectLength(rest)
	if !ok && !r.byLine {
		if r.byLine = r.linesAreValues(rest[len(line):]); !r.byLine {
			return r.broken()
		}
		n, ok = r.objectLength(rest)
	}
	if !ok {
		n = len(line)
	}
	r.spansLines = r.spansLines || n > len(line)
	return r.take(r.at+n, r.line)
}

// objectLength returns the length of the object that data begins with, within its line if each line
// is a value. ok is false if there is none, or if something but an object follows on its line.
func (r *valueReader) objectLength(data []byte) (n int, ok bool) {
	if r.byLine {
		data, _, _ = bytes.Cut(data, []byte{'\n'})
	}
	if data[0] != '{' {
		return 0, false
	}
	if n, ok = valueLength(data); !ok {
		return 0, false
	}
	after, _, _ := bytes.Cut(data[n:], []byte{'\n'})
	after = bytes.TrimLeft(after, jsonSpace)
	return n, len(after) == 0 || after[0] == '{'
}

// linesAreValues reports whether the lines of the body seem to be values, one each: those so far
// are, or the next line begins with an object.
func (r *valueReader) linesAreValues(next []byte) bool {
	next = bytes.TrimLeft(next, jsonSpace)
	return !r.spansLines && (r.n > 0 || len(next) > 0 && next[0] == '{')
}
