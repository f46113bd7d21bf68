package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"relish/internal/admission"
)

const (
	// maxBodyBytes bounds a request's body.
	maxBodyBytes = 8 << 20
	// firstBuffer holds most bodies. A body's buffer grows with what has arrived, not with what
	// the client announces.
	firstBuffer = 16 << 10
	// maxKeptBuffer is the largest buffer that is kept for another body.
	maxKeptBuffer = 1 << 20
	// valueBytes is what one value of a body takes at most when it is decoded, besides its text:
	// an entry in a map of field values.
	valueBytes = 320
	// bulkBytes is the size from which a body of events or items is decoded in its turn.
	bulkBytes = 64 << 10
)

// defaultBodyMemory is the memory for bodies if Options does not say.
const defaultBodyMemory = 128 << 20

// bodyBuffers holds buffers for reuse: bodies of thousands of candidates would otherwise be
// garbage.
var bodyBuffers = sync.Pool{New: func() any { return new(make([]byte, 0, firstBuffer)) }}

// bodyKind says which bodies a route takes.
type bodyKind struct {
	types []string // accepted media types, the preferred one first
	bulk  bool     // events or items: rankings come first
}

var (
	rankingBody = bodyKind{types: jsonMediaType}
	eventBody   = bodyKind{types: eventMediaTypes, bulk: true}
	itemBodies  = bodyKind{types: eventMediaTypes[:2], bulk: true}
	userBodies  = bodyKind{types: jsonMediaType, bulk: true}
)

// body is the body of a request under way. Its data is valid until the handler returns.
type body struct {
	data   []byte
	values int // about how many JSON values it has
}

// withBody reads the request's body and passes it to handle. Until that returns, the body counts
// against Options.BodyMemory: its bytes as they arrive, and what it takes when it is decoded, once
// that is its turn. A client that sends slowly holds what it has sent and nothing else.
func (s *Server) withBody(kind bodyKind, handle func(*gin.Context, body)) gin.HandlerFunc {
	return func(c *gin.Context) {
		lease := s.bodyMemory.Lease(kind.bulk)
		defer lease.Release()
		buf := bodyBuffers.Get().(*[]byte)
		defer func() {
			if cap(*buf) <= maxKeptBuffer {
				bodyBuffers.Put(buf)
			}
		}()
		err := readBody(c, kind, lease, buf)
		if err == nil {
			infoOf(c).bodyRead = true
		}
		if err == nil && kind.bulk && len(*buf) >= bulkBytes {
			var done func()
			if done, err = s.waitForBulk(c); err == nil {
				defer done()
			}
		}
		b := body{data: *buf}
		if err == nil {
			b.values = countValues(b.data)
			err = bodyError(c, lease.Take(int64(len(b.data)+valueBytes*b.values)))
		}
		if err != nil {
			s.metrics.refusedBody(err)
			fail(c, err)
			return
		}
		handle(c, b)
	}
}

// readBody checks the media type, and reads the body into buf within bodyTimeout.
func readBody(c *gin.Context, kind bodyKind, lease *admission.Lease, buf *[]byte) error {
	if err := checkContentType(c.Request, kind.types); err != nil {
		return err
	}
	if c.Request.ContentLength > maxBodyBytes {
		c.Header("Connection", "close") // so that http.Server does not wait for the rest
		return errBodyTooLarge
	}
	return bodyError(c, readAll(c, lease, buf))
}

// readAll reads the body to its end. It takes memory of the lease before the buffer grows.
func readAll(c *gin.Context, lease *admission.Lease, buf *[]byte) error {
	data := (*buf)[:0]
	defer func() { *buf = data }()
	if err := lease.Take(int64(cap(data))); err != nil {
		return err
	}
	in := http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes)
	for {
		if len(data) == cap(data) {
			if err := lease.Take(int64(cap(data))); err != nil {
				return err
			}
			data = append(make([]byte, 0, 2*cap(data)), data...)
		}
		n, err := in.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// bodyError returns the answer to a body that cannot be read, nil if err is nil.
func bodyError(c *gin.Context, err error) error {
	if err == nil {
		return nil
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errBodyTooLarge
	case errors.Is(err, admission.ErrTooLarge):
		return errBodyTooLarge.with("the body takes more memory than --max-body-memory leaves " +
			"for one: split it into several requests")
	case errors.Is(err, admission.ErrNoMemory):
		c.Header("Connection", "close")
		return errNoMemory
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodyTimeout
	case c.Request.Context().Err() != nil:
		return c.Request.Context().Err()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errMalformed.with("the body is shorter than its Content-Length: send it again")
	}
	return errMalformed.with("the body could not be read: send it again")
}

// bodyDeadline gives a body bodyTimeout to arrive, also one that the server only discards because
// the request is refused. http.Server drops the deadline at the body's end. A test recorder has no
// deadlines, and no slow client either: the error does not matter.
func (s *Server) bodyDeadline(c *gin.Context) {
	if c.Request.ContentLength == 0 {
		return
	}
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Now().Add(bodyTimeout))
	c.Next()
	s.discardBody(c)
}

// waitForBulk waits for a turn to decode a large body of events or items, so that processors are
// left for rankings. done ends the turn.
func (s *Server) waitForBulk(c *gin.Context) (done func(), err error) {
	timeout := time.NewTimer(bodyTimeout)
	defer timeout.Stop()
	select {
	case s.bulkTurns <- struct{}{}:
		return func() { <-s.bulkTurns }, nil
	case <-timeout.C:
		return nil, errBulkBusy
	case <-c.Request.Context().Done():
		return nil, c.Request.Context().Err()
	}
}
