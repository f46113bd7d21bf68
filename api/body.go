package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// maxBodyBytes bounds a request's body.
const maxBodyBytes = 8 << 20

// bodyBuffers holds buffers for reuse: bodies of thousands of candidates would otherwise be
// garbage.
var bodyBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// readBody reads the whole body, at most maxBodyBytes within bodyTimeout, and passes it to use. The
// bytes are not valid after use returns. types are the accepted media types, the preferred one
// first.
func readBody(c *gin.Context, types []string, use func(data []byte) error) error {
	if err := checkContentType(c.Request, types); err != nil {
		return err
	}
	// A test recorder has no deadlines, and no slow client either: the error does not matter.
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Now().Add(bodyTimeout))
	buf := bodyBuffers.Get().(*bytes.Buffer)
	defer bodyBuffers.Put(buf)
	buf.Reset()
	_, err := buf.ReadFrom(http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errBodyTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodyTimeout
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errMalformed.with("the body is shorter than its Content-Length: send it again")
	case err != nil:
		return errMalformed.with("the body could not be read: send it again")
	}
	return use(buf.Bytes())
}

// jsonMediaType is what most routes accept.
var jsonMediaType = []string{"application/json"}

// checkContentType refuses bodies that are compressed, of another media type, or not in UTF-8.
func checkContentType(r *http.Request, types []string) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return errMediaType.with(
			"Content-Encoding %s is not supported: send the body uncompressed", quoted(encoding))
	}
	sent := r.Header.Get("Content-Type")
	mediaType, params, err := mime.ParseMediaType(sent)
	charset := params["charset"]
	utf8 := charset == "" || charset == "utf-8" || charset == "UTF-8"
	if err != nil || !slices.Contains(types, mediaType) || !utf8 {
		return errMediaType.with("Content-Type %s is not supported: send %s in UTF-8",
			quoted(sent), strings.Join(types, " or "))
	}
	return nil
}
