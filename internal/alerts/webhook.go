package alerts

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Delivery says what became of the message about an episode. The zero Delivery is that of a rule
// without a webhook.
type Delivery struct {
	State    DeliveryState `json:"state"`
	Attempts int           `json:"attempts"`
	Next     time.Time     `json:"next,omitzero"` // of the next attempt
	Error    string        `json:"error,omitzero"`
}

// DeliveryState is a state of a delivery.
type DeliveryState string

// The states of a delivery.
const (
	Pending   DeliveryState = "pending"
	Delivered DeliveryState = "delivered"
	Failed    DeliveryState = "failed" // it was tried for a day
)

// Bounds of a delivery.
const (
	postTimeout  = 10 * time.Second
	firstRetry   = 10 * time.Second // doubles with each attempt
	longestRetry = 10 * time.Minute
	giveUpAfter  = 24 * time.Hour
	maxAnswer    = 64 << 10 // bytes that are read of an answer, to use the connection again
	maxError     = 300      // bytes of an error that are kept
)

// SignatureHeader is the header that signs a message: "t=SECONDS,v1=HEX". HEX is the HMAC-SHA256
// of SECONDS, a full stop and the body. SECONDS is the Unix time of the attempt, so that a receiver
// can refuse a message that was recorded and sent again.
const SignatureHeader = "Relish-Signature"

// Signature returns the value of SignatureHeader.
func Signature(secret, body []byte, at time.Time) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	sum := hmac.New(sha256.New, secret)
	sum.Write([]byte(seconds + "."))
	sum.Write(body)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(sum.Sum(nil))
}

// message is the body of a webhook. It has data of items, and none of users.
type message struct {
	Version   int       `json:"version"`
	Episode   string    `json:"episode"`
	Alert     string    `json:"alert"`
	When      string    `json:"when"`
	Started   time.Time `json:"started"`
	Value     float64   `json:"value"`
	Usual     float64   `json:"usual"`
	Threshold float64   `json:"threshold"`
	Count     int       `json:"count"`
	Total     int       `json:"total"`
	Reason    string    `json:"reason"`
	Items     []Text    `json:"items"`
}

// poster sends one request. http.Client implements it.
type poster interface {
	Do(*http.Request) (*http.Response, error)
}

// newClient returns a client that follows no redirect, so that only the configured URLs are called.
func newClient() *http.Client {
	return &http.Client{
		Timeout: postTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// due is a message whose time has come.
type due struct {
	rule    int
	episode Episode
}

// Deliver sends the messages that are due, one after the other. What failed is tried again at later
// calls, for a day. The error has the failures of this call. waiting says that messages which
// failed wait for their next attempt. If ctx ends, the message that it interrupts and those after
// it stay due, and the outcomes of those before are kept. Calls must not overlap.
func (m *Monitor) Deliver(ctx context.Context, now time.Time) (waiting bool, err error) {
	if err := m.save(); err != nil {
		return true, err // nobody is told of an episode that a restart would forget
	}
	var errs []error
	begin := time.Now()
	for _, d := range m.due(now) {
		err := m.post(ctx, d, now.Add(time.Since(begin))) // others may have hung until now
		if err != nil && ctx.Err() != nil {
			break // a stop is no failure of the webhook; the next start sends the message
		}
		if err != nil {
			err = fmt.Errorf("the webhook of the alert %s: %w", m.opt.Rules[d.rule].Name, err)
			errs = append(errs, err)
		}
		m.delivered(d, now, err)
	}
	return m.waiting(), errors.Join(append(errs, m.save())...)
}

func (m *Monitor) waiting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.states {
		for _, e := range m.states[i].Episodes {
			if e.Delivery.State == Pending && e.Delivery.Attempts > 0 {
				return true
			}
		}
	}
	return false
}

func (m *Monitor) due(now time.Time) (list []due) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.states {
		for _, e := range m.states[i].Episodes {
			if e.Delivery.State == Pending && !now.Before(e.Delivery.Next) {
				list = append(list, due{i, e})
			}
		}
	}
	return list
}

// post sends one message.
func (m *Monitor) post(ctx context.Context, d due, at time.Time) error {
	r, e := &m.opt.Rules[d.rule], &d.episode
	body, err := json.Marshal(message{
		Version: 1, Episode: e.ID, Alert: r.Name, When: r.When, Started: e.Started,
		Value: e.Decision.Value, Usual: e.Decision.Usual, Threshold: e.Decision.Threshold,
		Count: e.Decision.Count, Total: e.Decision.Total, Reason: e.Decision.Reason,
		Items: append([]Text{}, e.Texts...),
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Webhook, bytes.NewReader(body))
	if err != nil {
		return withoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "relish")
	req.Header.Set(SignatureHeader, Signature(m.opt.Secrets[d.rule], body, at))
	resp, err := m.client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return nil
}

// withoutURL returns an error of an HTTP client without the URL, which may hold a secret. It is
// cut, because it may repeat a header of the answer.
func withoutURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if text := err.Error(); len(text) > maxError {
		return errors.New(strings.ToValidUTF8(text[:maxError], "") + "…")
	}
	return err
}

// delivered takes the outcome of an attempt.
func (m *Monitor) delivered(d due, now time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.states[d.rule]
	m.saved = false
	if err != nil {
		s.Failures++
	}
	for k := range s.Episodes {
		e := &s.Episodes[k]
		if e.ID != d.episode.ID {
			continue
		}
		e.Delivery.Attempts++
		switch {
		case err == nil:
			e.Delivery = Delivery{State: Delivered, Attempts: e.Delivery.Attempts}
		case now.Sub(e.Started) > giveUpAfter:
			e.Delivery.State, e.Delivery.Error = Failed, err.Error()
		default:
			wait := firstRetry << min(e.Delivery.Attempts-1, 16)
			e.Delivery.Next = now.Add(min(wait, longestRetry)).UTC()
			e.Delivery.Error = err.Error()
		}
	}
}
