package importfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"relish/features/event"
)

// valueReader reads JSON values that span lines, or those of an array. It finds their ends by their
// brackets alone, so that a value that is not valid JSON costs only itself.
type valueReader struct {
	in    *bufio.Reader
	line  int // of the next byte
	array bool
	n     int // values so far
}

// next returns the next value, io.EOF after the last.
func (r *valueReader) next() (document, error) {
	c, err := r.peek()
	if err == nil && r.array {
		if c, err = r.separator(c); err == nil && c == ']' {
			return document{}, r.end()
		}
	}
	if errors.Is(err, io.EOF) && r.array {
		return document{}, r.truncated()
	}
	if err != nil {
		return document{}, err
	}
	r.n++
	doc := document{line: r.line}
	if c == '{' || c == '[' {
		doc.data, err = r.object()
	} else {
		doc.data, err = r.scalar()
	}
	return doc, err
}

// separator reads the comma before every value of an array but the first, and returns the byte that
// follows.
func (r *valueReader) separator(c byte) (byte, error) {
	if r.n == 0 || c == ']' {
		return c, nil
	}
	if c != ',' {
		return 0, r.fail("not valid JSON: a comma must separate the values of an array")
	}
	r.discard(1)
	c, err := r.peek()
	if c == ']' {
		return 0, r.fail("not valid JSON: trailing comma: remove it")
	}
	return c, err
}

// end reads the end of the array, after which nothing may follow. It returns io.EOF.
func (r *valueReader) end() error {
	r.discard(1)
	if _, err := r.peek(); err != nil {
		return err
	}
	return r.fail("the file goes on after the array: write one array, or one object a line")
}

// peek skips blanks and returns the next byte.
func (r *valueReader) peek() (byte, error) {
	for {
		head, err := r.in.Peek(1)
		if err != nil {
			return 0, err
		}
		if bytes.IndexByte([]byte(" \t\r\n"), head[0]) < 0 {
			return head[0], nil
		}
		r.discard(1)
	}
}

// discard skips bytes that are in the buffer.
func (r *valueReader) discard(n int) {
	head, _ := r.in.Peek(n)
	r.line += bytes.Count(head, []byte{'\n'})
	_, _ = r.in.Discard(n)
}

// object reads a value with brackets.
func (r *valueReader) object() (data []byte, err error) {
	var scanner event.ValueScanner
	for done := false; !done; {
		if _, err := r.in.Peek(1); errors.Is(err, io.EOF) {
			return nil, r.truncated()
		} else if err != nil {
			return nil, err
		}
		part, _ := r.in.Peek(r.in.Buffered())
		var n int
		n, done = scanner.Scan(part)
		if len(data)+n > MaxRow {
			return nil, r.fail(tooLong().Message)
		}
		data = append(data, part[:n]...)
		r.discard(n)
	}
	return data, nil
}

// scalar reads a value without brackets, which no event has. It reads at least one byte.
func (r *valueReader) scalar() (data []byte, err error) {
	for len(data) <= MaxRow {
		head, err := r.in.Peek(1)
		atEnd := errors.Is(err, io.EOF)
		if err != nil && !atEnd {
			return nil, err
		}
		if atEnd || len(data) > 0 && bytes.IndexByte([]byte(",]\n"), head[0]) >= 0 {
			return bytes.TrimSpace(data), nil
		}
		data = append(data, head[0])
		r.discard(1)
	}
	return nil, r.fail(tooLong().Message)
}

func (r *valueReader) truncated() error {
	return r.fail("the file ends within a JSON value: it is truncated")
}

func (r *valueReader) fail(message string) error {
	return fmt.Errorf("line %d: %s", r.line, message)
}
