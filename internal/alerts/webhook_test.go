package alerts_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"relish/internal/alerts"
)

// A stop interrupts a delivery. The next start sends the interrupted message, and does not repeat
// those that were delivered before.
func TestDeliveryIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var got []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		var m struct{ Alert string }
		if body, err := io.ReadAll(q.Body); err != nil || json.Unmarshal(body, &m) != nil {
			t.Errorf("%v, body %s", err, body)
		}
		if got = append(got, m.Alert); len(got) == 2 {
			stop()
			<-q.Context().Done()
		}
	}))
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer hook.Close()
	opt := options(t, hook.URL)
	other := opt.Rules[0]
	other.Name = "b"
	opt.Rules, opt.Secrets = append(opt.Rules, other), append(opt.Secrets, opt.Secrets[0])
	m := alerts.New(opt)
	tick(t, m, &fixed{over: true}, 0)
	if _, err := m.Deliver(ctx, start); err != nil {
		t.Errorf("a stop is reported as a failure: %v", err)
	}
	m = alerts.New(opt)
	if s := m.Status()[1]; s.Failures != 0 || s.Episodes[0].Delivery.State != alerts.Pending {
		t.Errorf("the interrupted message: %d failures, %+v", s.Failures, s.Episodes[0].Delivery)
	}
	_, err := deliver(t, m, 0)
	if want := []string{"a", "b", "b"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, messages of %v, want %v", err, got, want)
	}
}
