package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"relish/features/event"
	"relish/internal/plural"
	"relish/ranker"
)

// Server sends imported events to a running service, by POST /feedback. It is an EventSink. It
// repeats a request that the service could not take; the ids of events make that safe. URL is
// required.
type Server struct {
	URL string // such as http://127.0.0.1:8080
	Key string // API key with the scopes feedback and items; "" = none
	// Retrying is called before a request is repeated, with the reason and the time until then. It
	// may be nil.
	Retrying func(reason error, wait time.Duration)
	// Wait returns after the time, or with an error when ctx ends. nil: it sleeps.
	Wait func(ctx context.Context, d time.Duration) error

	reached bool // a request has been answered
}

const (
	// maxServerBody is below the 8 MiB that the service takes.
	maxServerBody = 2 << 20
	// maxServerTries times are waited for, of which the first is firstWait and each is twice as
	// long as the one before, up to maxWait: four minutes in all.
	maxServerTries = 14
	firstWait      = 500 * time.Millisecond
	maxWait        = 30 * time.Second
	// serverTimeout bounds one request. The service writes to disk before it answers.
	serverTimeout = time.Minute
	maxAnswer     = 8 << 20
)

// ReadKeyFile returns the API key in a file, without blanks around it.
func ReadKeyFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(data))
	if key == "" || strings.ContainsAny(key, " \t\r\n") {
		return "", fmt.Errorf("%s must hold one API key and nothing else", path)
	}
	return key, nil
}

// Check returns an error unless URL can be the address of a service.
func (s *Server) Check() error {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is not the address of a service; write http://127.0.0.1:8080", s.URL)
	}
	return nil
}

// Append implements EventSink. The service does not say which events are duplicates: as many
// outcomes as there are duplicates say so, of any of the events that were not rejected.
func (s *Server) Append(
	ctx context.Context, events []ranker.Event,
) ([]ranker.EventOutcome, error) {
	outcomes := make([]ranker.EventOutcome, len(events))
	for from := 0; from < len(events); {
		body, n, err := eventsBody(events[from:])
		if err != nil {
			return nil, err
		}
		answer, err := s.send(ctx, body)
		if err != nil {
			return nil, err
		}
		if err := answer.outcomes(outcomes[from : from+n]); err != nil {
			return nil, err
		}
		from += n
	}
	return outcomes, nil
}

// eventsBody returns a body with the first n of the events.
func eventsBody(events []ranker.Event) (body []byte, n int, err error) {
	body = append(body, '[')
	for i := range events {
		before := len(body)
		if i > 0 {
			body = append(body, ',')
		}
		if body, err = event.AppendNative(body, &events[i]); err != nil {
			return nil, 0, err
		}
		if i > 0 && len(body) > maxServerBody {
			body = body[:before]
			break
		}
		n++
	}
	return append(body, ']'), n, nil
}

// serverAnswer is the answer of POST /feedback.
type serverAnswer struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
	Rejected   []struct {
		Index   int    `json:"index"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Pointer string `json:"pointer"`
	} `json:"rejected"`
}

// outcomes sets the outcomes of the events that the answer is about.
func (a *serverAnswer) outcomes(out []ranker.EventOutcome) error {
	if a.Accepted < 0 || a.Duplicates < 0 ||
		a.Accepted+a.Duplicates+len(a.Rejected) != len(out) {
		return fmt.Errorf("the service answers for %s; %d were sent",
			plural.Count(a.Accepted+a.Duplicates+len(a.Rejected), "event"), len(out))
	}
	for _, r := range a.Rejected {
		if r.Index < 0 || r.Index >= len(out) || out[r.Index].Err != nil {
			return fmt.Errorf("the service rejects event %d of %d", r.Index, len(out))
		}
		out[r.Index].Err = &ranker.EventError{Code: r.Code, Message: r.Message, Pointer: r.Pointer}
	}
	for i, left := 0, a.Duplicates; left > 0; i++ {
		if out[i].Err == nil {
			out[i].Duplicate = true
			left--
		}
	}
	return nil
}

// send sends a body until the service takes it or says that it never will.
func (s *Server) send(ctx context.Context, body []byte) (*serverAnswer, error) {
	wait := firstWait
	for try := 1; ; try++ {
		answer, after, err := s.post(ctx, body)
		if err == nil || after < 0 || try == maxServerTries || ctx.Err() != nil {
			return answer, err
		}
		pause := max(wait, after)
		if s.Retrying != nil {
			s.Retrying(err, pause)
		}
		if err := s.pause(ctx, pause); err != nil {
			return nil, err
		}
		wait = min(2*wait, maxWait)
	}
}

func (s *Server) pause(ctx context.Context, d time.Duration) error {
	if s.Wait != nil {
		return s.Wait(ctx, d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// never says that a request must not be repeated.
const never time.Duration = -1

// post sends a body once. after is how long the service wants the client to wait before it tries
// again, 0 if it does not say, or never.
func (s *Server) post(
	ctx context.Context, body []byte,
) (answer *serverAnswer, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	address := strings.TrimSuffix(s.URL, "/") + "/feedback?imported=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, never, err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.Key != "" {
		req.Header.Set("Authorization", "Bearer "+s.Key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		// A service that has answered may restart. If none ever has, the address is probably wrong.
		if dial := (*net.OpError)(nil); !s.reached && errors.As(err, &dial) && dial.Op == "dial" {
			return nil, never, fmt.Errorf("no service answers at %s: %w; start it with relish "+
				"serve, or correct --server", s.URL, dial.Err)
		}
		return nil, 0, err
	}
	defer resp.Body.Close()
	s.reached = true
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, retryAfter(resp), serverError(resp.StatusCode, data)
	}
	if err := json.Unmarshal(data, &answer); err != nil || answer == nil {
		return nil, never, fmt.Errorf("%s answers, but not as relish does", s.URL)
	}
	return answer, 0, nil
}

// retryAfter returns when to repeat a request that failed with this answer.
func retryAfter(resp *http.Response) time.Duration {
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil || seconds < 0 {
			return 0
		}
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	return never
}

// serverError returns the error of an answer, with what to do about keys.
func serverError(status int, data []byte) error {
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(data, &body) != nil || body.Error.Message == "" {
		return fmt.Errorf("the service answers %d", status)
	}
	err := errors.New("the service answers: " + body.Error.Message)
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		err = fmt.Errorf("%w. Name a file with the key by --key-file", err)
	}
	return err
}
