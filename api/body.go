package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxBodyBytes = 8 << 20
	maxDepth     = 32
)

var bodyBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// readBody reads the whole body within the size and time limits and hands it to use; the bytes are not
// valid afterwards.
func readBody(c *gin.Context, types []string, use func(data []byte) error) error {
	if err := checkContentType(c.Request, types); err != nil {
		return err
	}
	// Not every writer can set a deadline (a test recorder cannot); then there is no slow client either.
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
		return errMalformed.with("the body ends early", "")
	case err != nil:
		return errMalformed.with("the body could not be read", "")
	}
	return use(buf.Bytes())
}

var jsonMediaType = []string{"application/json"}

func checkContentType(r *http.Request, types []string) error {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return errMediaType.with("send the body without Content-Encoding", "")
	}
	t, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || !slices.Contains(types, t) || charset != "" && charset != "utf-8" && charset != "UTF-8" {
		return errMediaType.with("send the body as "+types[0]+" in UTF-8", "")
	}
	return nil
}

// decode reads data strictly into v: one document, no unknown or repeated members, bounded depth.
func decode(data []byte, v any) error {
	if err := checkDepth(data); err != nil {
		return err
	}
	return decodeError(json.Unmarshal(data, v, json.RejectUnknownMembers(true)))
}

// checkDepth bounds the nesting: nothing here is deeper, and recursion costs.
func checkDepth(data []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errMalformed.with("nested more than 32 deep", "")
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// decodeError says what is wrong, and where, without the client's data.
func decodeError(err error) error {
	if err == nil {
		return nil
	}
	var own *apiError
	if errors.As(err, &own) {
		return own
	}
	var sem *json.SemanticError
	var syn *jsontext.SyntacticError
	switch {
	case errors.As(err, &sem) && errors.Is(sem.Err, json.ErrUnknownName):
		return errUnknownField.with("this member is unknown; names are lower case, see /docs", string(sem.JSONPointer))
	case errors.As(err, &sem):
		message := "must not be a JSON " + sem.JSONKind.String()
		if sem.Err != nil {
			message = sem.Err.Error()
		}
		return errInvalidField.with(message, string(sem.JSONPointer))
	case errors.As(err, &syn) && errors.Is(syn.Err, jsontext.ErrDuplicateName):
		return errMalformed.with("this member stands twice", string(syn.JSONPointer))
	case errors.As(err, &syn):
		return errMalformed.with("not valid JSON: "+syn.Err.Error(), string(syn.JSONPointer))
	}
	return errMalformed.with("not valid JSON, or more than one document", "")
}
