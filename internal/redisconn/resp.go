package redisconn

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The protocol RESP3, as far as a TrackingReader needs it.

// maxValueBytes is the longest string that Redis can hold.
const maxValueBytes = 512 << 20

// maxElements bounds the elements of one aggregate, against a server that is no Redis.
const maxElements = 1 << 24

// replyError is an error reply.
type replyError string

// Error implements error.
func (e replyError) Error() string { return string(e) }

// RedisError implements the client's interface of error replies.
func (replyError) RedisError() {}

var errProtocol = errors.New("redis: the server does not speak RESP3")

// appendCommand appends a command.
func appendCommand(dst []byte, name string, args ...string) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(1+len(args)), 10)
	dst = appendBulk(append(dst, "\r\n"...), name)
	for _, arg := range args {
		dst = appendBulk(dst, arg)
	}
	return dst
}

func appendBulk(dst []byte, s string) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, s...)
	return append(dst, "\r\n"...)
}

// Kinds of replies that readers distinguish.
const (
	kindError = '-'
	kindNull  = '_'
	kindBulk  = '$'
	kindArray = '*'
	kindPush  = '>'
)

// replyHead is the first line of a reply.
type replyHead struct {
	kind byte
	n    int    // bytes of a string, or elements of an aggregate
	text []byte // of the others; valid until the next read
}

// readHead reads the first line of a reply. A null of RESP2 becomes one of RESP3.
func readHead(in *bufio.Reader) (h replyHead, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return h, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return h, errProtocol
	}
	h.kind, h.text = line[0], line[1:len(line)-2]
	limit := maxElements
	switch h.kind {
	case kindBulk, '=', '!':
		limit = maxValueBytes
	case kindArray, kindPush, '~', '%', '|':
	case '+', kindError, ':', kindNull, '#', ',', '(':
		return h, nil
	default:
		return h, errProtocol
	}
	if string(h.text) == "-1" {
		return replyHead{kind: kindNull}, nil
	}
	h.n, err = strconv.Atoi(string(h.text))
	if err != nil || h.n < 0 || h.n > limit {
		return h, errProtocol
	}
	return h, nil
}

// skipRest skips what follows the first line of a reply.
func skipRest(in *bufio.Reader, h replyHead) error {
	elements := h.n
	switch h.kind {
	case kindBulk, '=', '!':
		_, err := in.Discard(h.n + len("\r\n"))
		return err
	case '%':
		elements *= 2
	case '|': // attributes, and then the reply that they describe
		elements = 2*h.n + 1
	}
	for range elements {
		inner, err := readHead(in)
		if err == nil {
			err = skipRest(in, inner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// appendString reads the string behind its first line, and appends it.
func appendString(in *bufio.Reader, dst []byte, h replyHead) ([]byte, error) {
	for left := h.n; left > 0; {
		part, err := in.Peek(min(left, in.Size()))
		if err != nil {
			return dst, err
		}
		dst = append(dst, part...)
		if _, err := in.Discard(len(part)); err != nil {
			return dst, err
		}
		left -= len(part)
	}
	_, err := in.Discard(len("\r\n"))
	return dst, err
}

// readText reads a reply that is a string. It returns an error reply as a replyError.
func readText(in *bufio.Reader) (string, error) {
	h, err := readHead(in)
	switch {
	case err != nil:
		return "", err
	case h.kind == kindError:
		return "", replyError(h.text)
	case h.kind == kindBulk || h.kind == '=':
		text, err := appendString(in, nil, h)
		return string(text), err
	default:
		return string(h.text), skipRest(in, h)
	}
}

// connectionLost says why a connection ended.
func connectionLost(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", errConnectionLost, err)
}
