package api

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"relish/features/event"
	"relish/ranker"
)

// apiError is what a failed request is answered with.
type apiError struct {
	status  int
	code    string
	message string
	pointer string // JSON pointer into the body
	retry   int    // Retry-After in seconds, 0 = none
	cause   error  // for the log, not for the client; nil = none
}

// Error implements error.
func (e *apiError) Error() string { return e.code + ": " + e.message }

// The table of errors. Those with an empty message are given one by with.
var (
	errMalformed          = &apiError{status: http.StatusBadRequest, code: "malformed"}
	errInvalidField       = &apiError{status: http.StatusBadRequest, code: "invalid_field"}
	errUnknownField       = &apiError{status: http.StatusBadRequest, code: "unknown_field"}
	errUnauthorized       = &apiError{status: http.StatusUnauthorized, code: "unauthorized", message: "send a key as Authorization: Bearer KEY or X-API-Key: KEY"}
	errForbidden          = &apiError{status: http.StatusForbidden, code: "forbidden"}
	errNoRoute            = &apiError{status: http.StatusNotFound, code: "not_found", message: "there is no such route; see /docs"}
	errUnknownItem        = &apiError{status: http.StatusNotFound, code: "not_found", message: "this item is unknown"}
	errUnknownModel       = &apiError{status: http.StatusNotFound, code: "unknown_model", message: "no model of this name is loaded; see GET /models", pointer: "/model"}
	errUnknownExperiment  = &apiError{status: http.StatusNotFound, code: "not_found", message: "nobody in the log was exposed to an experiment of this name"}
	errUnknownBundle      = &apiError{status: http.StatusNotFound, code: "unknown_model", message: "there is no such bundle, or it has no report; see GET /models"}
	errNoPreviousModel    = &apiError{status: http.StatusConflict, code: "no_previous", message: "no other model was active before this one"}
	errBundleRefused      = &apiError{status: http.StatusConflict, code: "bundle_refused"}
	errMethodNotAllowed   = &apiError{status: http.StatusMethodNotAllowed, code: "method_not_allowed", message: "this route has other methods; see /docs"}
	errBodyTimeout        = &apiError{status: http.StatusRequestTimeout, code: "body_timeout", message: "the body did not arrive within 5 seconds"}
	errBodyTooLarge       = &apiError{status: http.StatusRequestEntityTooLarge, code: "body_too_large", message: "the body is larger than 8 MiB; send less at once"}
	errTooManyItems       = &apiError{status: http.StatusRequestEntityTooLarge, code: "too_many_items", message: "more than 5,000 candidates; retrieve fewer", pointer: "/candidates"}
	errMediaType          = &apiError{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type"}
	errRateLimited        = &apiError{status: http.StatusTooManyRequests, code: "rate_limited", message: "this key sends more than it may", retry: 1}
	errOverloaded         = &apiError{status: http.StatusServiceUnavailable, code: "overloaded", message: "too many rankings at once; try again", retry: 1}
	errReportBusy         = &apiError{status: http.StatusServiceUnavailable, code: "overloaded", message: "another report is being made; try again", retry: 5}
	errReportTimeout      = &apiError{status: http.StatusServiceUnavailable, code: "overloaded", message: "the log is too large for an answer in 25 seconds; use relish experiment report", retry: 60}
	errLogUnavailable     = &apiError{status: http.StatusServiceUnavailable, code: "log_unavailable", message: "the event log cannot take events now; nothing was stored, try again", retry: 1}
	errNoTextEncoder      = &apiError{status: http.StatusServiceUnavailable, code: "no_text_model", message: "the service runs without a text encoder, or it did not answer in time", retry: 1}
	errBundlesUnavailable = &apiError{status: http.StatusServiceUnavailable, code: "bundles_unavailable", message: "the folder of bundles cannot be read or written now; what is active stays, and the log says why", retry: 1}
	errLogFull            = &apiError{status: http.StatusInsufficientStorage, code: "log_full", message: "the event log is at its limit; nothing was stored"}
	errInternal           = &apiError{status: http.StatusInternalServerError, code: "internal", message: "this is a bug; its trace is in the log under the request id"}
)

// with returns a copy of the entry that says what is wrong, and where.
func (e *apiError) with(message, pointer string) *apiError {
	c := *e
	c.message, c.pointer = message, pointer
	return &c
}

// because returns a copy of the entry that keeps its cause for the log.
func (e *apiError) because(err error) *apiError {
	c := *e
	c.cause = err
	return &c
}

// fromError finds the table's entry for an error of the parts behind the edge.
func fromError(err error) *apiError {
	var own *apiError
	var one *event.EventError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &one):
		return errInvalidField.with(one.Message, one.Pointer)
	case errors.Is(err, ranker.ErrUnknownModel):
		return errUnknownModel
	case errors.Is(err, ErrUnknownExperiment):
		return errUnknownExperiment
	case errors.Is(err, ErrInvalidReport):
		return errInvalidField.with(err.Error(), "")
	case errors.Is(err, event.ErrLogFull):
		return errLogFull
	case errors.Is(err, event.ErrLogUnavailable):
		return errLogUnavailable
	}
	return nil
}

// fail answers with the error and ends the request.
func fail(c *gin.Context, err error) {
	e := fromError(err)
	if e == nil {
		e = errInternal
		_ = c.Error(err) // for the log
	}
	if e.cause != nil {
		_ = c.Error(e.cause)
	}
	if e.retry > 0 {
		c.Header("Retry-After", strconv.Itoa(e.retry))
	}
	c.AbortWithStatusJSON(e.status, gin.H{"error": gin.H{"code": e.code, "message": e.message, "pointer": e.pointer}})
}
