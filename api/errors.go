package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"

	"relish/ranker"
)

// apiError is the answer to a failed request. The client gets the code, the message and the
// pointer.
type apiError struct {
	status  int
	code    string // for programs: it never changes
	message string // for people: what happened, with which value, and what to do next
	pointer string // JSON pointer into the body, "" if no single place is wrong
	retry   int    // Retry-After in seconds; 0 sends none
	shed    bool   // the service refuses work because it is busy; metrics count it, not the log
	cause   error  // for the log only, never for the client; nil if there is none
}

// Error implements error.
func (e *apiError) Error() string { return e.code + ": " + e.message }

// The error table: every answer but 2xx is made from one of these entries. An entry without a
// message gets one from with.
var (
	errMalformed = &apiError{status: http.StatusBadRequest, code: "malformed"}

	errInvalidField = &apiError{status: http.StatusBadRequest, code: "invalid_field"}

	errMissingField = &apiError{status: http.StatusBadRequest, code: "missing_field"}

	errUnknownField = &apiError{status: http.StatusBadRequest, code: "unknown_field"}

	errUnauthorized = &apiError{
		status: http.StatusUnauthorized, code: "unauthorized",
		message: "no valid API key: send one as Authorization: Bearer KEY or as X-API-Key: KEY"}

	errForbidden = &apiError{status: http.StatusForbidden, code: "forbidden"}

	errNoRoute = &apiError{
		status: http.StatusNotFound, code: "not_found",
		message: "no such route: see /docs for all routes"}

	errUnknownItem = &apiError{
		status: http.StatusNotFound, code: "not_found",
		message: "unknown item: add it with PUT /items, or send an item event to /feedback"}

	errUnknownModel = &apiError{status: http.StatusNotFound, code: "unknown_model"}

	errUnknownClassifier = &apiError{status: http.StatusNotFound, code: "unknown_classifier"}

	errUnknownExperiment = &apiError{
		status: http.StatusNotFound, code: "not_found",
		message: "the log has no user who was exposed to this experiment in this period: " +
			"check the name with GET /experiments, or widen from and to"}

	errNoTrends = &apiError{
		status: http.StatusNotFound, code: "not_found",
		message: "this service counts no trends: start it with relish serve"}

	errMethodNotAllowed = &apiError{
		status: http.StatusMethodNotAllowed, code: "method_not_allowed"}

	errBodyTimeout = &apiError{
		status: http.StatusRequestTimeout, code: "body_timeout",
		message: fmt.Sprintf("the body did not arrive within %g seconds: send it faster, "+
			"or in smaller parts", bodyTimeout.Seconds())}

	errNoPreviousModel = &apiError{
		status: http.StatusConflict, code: "no_previous",
		message: "nothing to roll back to: no other model was active before; " +
			"activate a version of GET /models instead"}

	errBundleRefused = &apiError{status: http.StatusConflict, code: "bundle_refused"}

	errBodyTooLarge = &apiError{
		status: http.StatusRequestEntityTooLarge, code: "body_too_large",
		message: fmt.Sprintf("the body is larger than %d MiB: split it into several requests",
			maxBodyBytes>>20)}

	errTooManyItems = &apiError{
		status: http.StatusRequestEntityTooLarge, code: "too_many_items", pointer: "/candidates",
		message: fmt.Sprintf("more than %s candidates: let the retriever return fewer",
			thousands(maxCandidates))}

	errMediaType = &apiError{
		status: http.StatusUnsupportedMediaType, code: "unsupported_media_type"}

	errRateLimited = &apiError{
		status: http.StatusTooManyRequests, code: "rate_limited", retry: 1, shed: true,
		message: "this key sends more requests a second than --rate-per-key allows: " +
			"send fewer, and retry after 1 s"}

	errOverloaded = &apiError{
		status: http.StatusServiceUnavailable, code: "overloaded", retry: 1, shed: true,
		message: "all ranking slots are taken: retry after 1 s; add replicas if it goes on"}

	errNoMemory = &apiError{
		status: http.StatusServiceUnavailable, code: "overloaded", retry: 1, shed: true,
		message: "the bodies under way take all of --max-body-memory: send smaller bodies, " +
			"fewer at once, or retry after 1 s"}

	errBulkBusy = &apiError{
		status: http.StatusServiceUnavailable, code: "overloaded", retry: 1, shed: true,
		message: fmt.Sprintf("other large bodies are being read: send bodies below %d KiB, "+
			"fewer at once, or retry after 1 s", bulkBytes>>10)}

	errReportBusy = &apiError{
		status: http.StatusServiceUnavailable, code: "overloaded", retry: 5,
		message: "another experiment report is being computed: retry after 5 s"}

	errReportTimeout = &apiError{
		status: http.StatusServiceUnavailable, code: "overloaded", retry: 60,
		message: fmt.Sprintf("the report took longer than %g seconds: shorten the period with "+
			"from and to, or run relish experiment report", reportTimeout.Seconds())}

	errLogTimeout = &apiError{
		status: http.StatusServiceUnavailable, code: "log_unavailable", retry: 1,
		message: "the event log did not answer within --log-timeout; what was sent may be " +
			"stored: repeat it with the same ids after 1 s, and look at the disk if it goes on"}

	errLogUnavailable = &apiError{
		status: http.StatusServiceUnavailable, code: "log_unavailable", retry: 1,
		message: "the event log cannot be written now; nothing was stored: retry after 1 s"}

	errStarting = &apiError{
		status: http.StatusServiceUnavailable, code: "starting", retry: 5,
		message: "the service is starting: /health/ready says how far it is; retry after 5 s"}

	errNoTextEncoder = &apiError{
		status: http.StatusServiceUnavailable, code: "no_text_encoder", retry: 1,
		message: "no text encoder answered: the service runs without one, or it was too slow; " +
			"see /health/ready, and retry after 1 s"}

	errBundlesUnavailable = &apiError{
		status: http.StatusServiceUnavailable, code: "bundles_unavailable", retry: 1,
		message: "the bundle folder cannot be read or written now; the active model stays: " +
			"see the service's log for the reason"}

	errLogFull = &apiError{
		status: http.StatusInsufficientStorage, code: "log_full", retry: 60,
		message: "the event log has reached its size limit, or its disk is nearly full; nothing " +
			"was stored: free space, raise --max-log-bytes, or set --retain-bytes, and retry " +
			"after 60 s"}

	errInternal = &apiError{
		status: http.StatusInternalServerError, code: "internal",
		message: "this is a bug in Relish: report it with the log lines of this X-Request-Id"}
)

// thousands returns n >= 0 with a comma before each group of three digits.
func thousands[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// with returns a copy of the entry with this message and no pointer.
func (e *apiError) with(format string, args ...any) *apiError { return e.at("", format, args...) }

// at returns a copy of the entry with this message and a JSON pointer to the place in the body.
func (e *apiError) at(pointer, format string, args ...any) *apiError {
	c := *e
	c.pointer, c.message = pointer, fmt.Sprintf(format, args...)
	return &c
}

// because returns a copy of the entry that carries its cause to the log.
func (e *apiError) because(err error) *apiError {
	c := *e
	c.cause = err
	return &c
}

// fromError returns the table entry for an error of the parts that the API calls, or nil if the
// table has none. Such an error is a bug.
func fromError(err error) *apiError {
	var entry *apiError
	var invalid *ranker.EventError
	switch {
	case errors.As(err, &entry):
		return entry
	case errors.As(err, &invalid):
		return &apiError{status: http.StatusBadRequest,
			code: invalid.Code, message: invalid.Message, pointer: invalid.Pointer}
	case errors.Is(err, ErrUnknownExperiment):
		return errUnknownExperiment
	case errors.Is(err, ErrInvalidReport):
		return errInvalidField.with("%s", err)
	case errors.Is(err, ranker.ErrLogFull):
		return errLogFull.because(err)
	case errors.Is(err, ranker.ErrLogUnavailable):
		return errLogUnavailable.because(err)
	}
	return nil
}

// modelError returns the table entry for an error of Models about a version. A caller with the
// admin scope is told why a bundle is refused.
func modelError(err error, version string) error {
	switch {
	case errors.Is(err, ranker.ErrUnknownModel):
		return errUnknownModel.with("no bundle %s: see GET /models", quoted(version))
	case errors.Is(err, ranker.ErrModelRefused):
		return errBundleRefused.with("%s", err)
	case errors.Is(err, ranker.ErrNoPreviousModel):
		return errNoPreviousModel
	}
	return errBundlesUnavailable.because(err)
}

// fail answers with the error and ends the request.
func fail(c *gin.Context, err error) {
	if errors.Is(err, context.Canceled) && c.Request.Context().Err() != nil {
		c.AbortWithStatus(statusClientGone) // nobody reads an answer
		return
	}
	e := fromError(err)
	if e == nil {
		e = errInternal
		_ = c.Error(err) // observe logs it
	}
	if e.cause != nil {
		_ = c.Error(e.cause)
	}
	if e.shed {
		infoOf(c).shed = true
	}
	if e.retry > 0 {
		c.Header("Retry-After", strconv.Itoa(e.retry))
	}
	c.Data(e.status, "application/json; charset=utf-8", e.appendJSON(nil))
	c.Abort()
}

// appendJSON appends the answer's body. It encodes by hand, because a busy service refuses many
// requests. Bytes that are not UTF-8 are replaced.
func (e *apiError) appendJSON(b []byte) []byte {
	b = append(b, `{"error":{"code":`...)
	b, _ = jsontext.AppendQuote(b, e.code)
	b = append(b, `,"message":`...)
	b, _ = jsontext.AppendQuote(b, e.message)
	b = append(b, `,"pointer":`...)
	b, _ = jsontext.AppendQuote(b, e.pointer)
	return append(b, "}}"...)
}
