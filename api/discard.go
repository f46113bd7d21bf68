package api

import (
	"io"

	"github.com/gin-gonic/gin"
)

// http.Server closes the connection after an answer if more than 256 KiB of the body have not been
// read, or if the client asked for that, as each client of HTTP/1.0 does. The kernel then resets
// it. A client that sends all of its request before it reads anything, as Python's http.client
// does, loses the answer and sees a reset. So the server answers a refused request, and then reads
// and drops the rest of its body.

const (
	// smallBody is what http.Server reads by itself if the connection stays open: before the
	// answer, and after it if refuseRanking sends it.
	smallBody = 256 << 10
	// maxDiscarded is how many bytes of a refused body are read at most; bodyTimeout bounds the
	// time.
	maxDiscarded = maxBodyBytes
)

// discardBody sends the answer to a refused request, and then reads the rest of its body. A client
// that waits for 100 Continue has not sent a body, and will not. Meanwhile the connection may be
// closed to make room for another one: else clients without a key could hold all of them.
func (s *Server) discardBody(c *gin.Context) {
	if c.Writer.Status() < 400 || infoOf(c).bodyRead {
		return
	}
	s.connections.refused(c.Request.Context().Value(connectionKey{}))
	size := c.Request.ContentLength // -1 if the client does not announce it
	if size >= 0 && size <= smallBody && !c.Request.Close || c.Request.Header.Get("Expect") != "" {
		return
	}
	c.Writer.Flush()
	_, _ = io.CopyN(io.Discard, c.Request.Body, maxDiscarded) // the answer is sent in any case
}
