package alerts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/features/trends"
	"relish/internal/alerts"
	"relish/internal/durable"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)

// fixed is a source in which 12 of 20 texts of this hour have the value, or none.
type fixed struct {
	over  bool
	texts []alerts.Text
	err   error
}

func (f *fixed) Hours(string, string, string, time.Time) (*trends.Hours, error) {
	h := weeks(10, 0, 20)
	if f.over {
		h.Counts[trends.HoursKept-1] = 12
	}
	return h, f.err
}

func (f *fixed) Texts(
	context.Context, string, string, time.Time, int,
) ([]alerts.Text, error) {
	return f.texts, nil
}

// receiver is a webhook that keeps what it gets.
type receiver struct {
	*httptest.Server
	status     int
	bodies     [][]byte
	signatures []string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: http.StatusOK}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		r.bodies = append(r.bodies, body)
		r.signatures = append(r.signatures, q.Header.Get(alerts.SignatureHeader))
		if r.status == http.StatusFound {
			http.Redirect(w, q, "/other", r.status)
			return
		}
		w.WriteHeader(r.status)
	}))
	t.Cleanup(func() {
		r.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return r
}

const secret = "a secret of 24 bytes ..."

// options are those of a monitor with one rule, whose window has 2 hours.
func options(t *testing.T, webhook string) alerts.Options {
	t.Helper()
	cfg := alerts.Config{Name: "a", When: "share(f=v) > 0.2 in 2 h", Webhook: webhook}
	if webhook != "" {
		cfg.SecretFile = "s"
	}
	rules, err := alerts.Rules([]alerts.Config{cfg})
	if err != nil {
		t.Fatal(err)
	}
	return alerts.Options{
		Rules: rules, Secrets: [][]byte{[]byte(secret)},
		Path: filepath.Join(t.TempDir(), "alerts.json"),
	}
}

// tick decides the rule as of some minutes after start.
func tick(t *testing.T, m *alerts.Monitor, f *fixed, minutes int) alerts.Status {
	t.Helper()
	now := start.Add(time.Duration(minutes) * time.Minute)
	if err := m.Tick(t.Context(), f, now); err != nil {
		t.Fatal(err)
	}
	return m.Status()[0]
}

// deliver sends what is due some seconds after start.
func deliver(t *testing.T, m *alerts.Monitor, seconds int) (waiting bool, err error) {
	t.Helper()
	return m.Deliver(t.Context(), start.Add(time.Duration(seconds)*time.Second))
}

// An episode lasts until the rule has not been met for its window, and a restart goes on with it.
func TestEpisodes(t *testing.T) {
	opt, f := options(t, ""), &fixed{over: true}
	m := alerts.New(opt)
	s := tick(t, m, f, 0)
	if !s.Active || s.Begun != 1 || len(s.Episodes) != 1 || s.Episodes[0].Delivery.State != "" {
		t.Fatalf("the first decision: %+v", s)
	}
	id := s.Episodes[0].ID
	f.over = false
	tick(t, m, f, 30)
	m = alerts.New(opt)
	if s := tick(t, m, f, 60); !s.Active || s.Episodes[0].ID != id {
		t.Errorf("after a restart: %+v", s)
	}
	f.over = true
	if s := tick(t, m, f, 90); s.Begun != 0 || len(s.Episodes) != 1 {
		t.Errorf("over again within the window: %+v", s)
	}
	f.over = false
	if s := tick(t, m, f, 209); !s.Active {
		t.Error("the episode ended before its window was over")
	}
	f.err = fmt.Errorf("%w: 7 records", alerts.ErrNotReady)
	if s := tick(t, m, f, 1000); !s.Active || s.Decision.State != alerts.Undecided {
		t.Errorf("without counts: %+v", s)
	}
	f.err = nil
	s = tick(t, m, f, 1001)
	if s.Active || !s.Episodes[0].Ended.Equal(start.Add(1001*time.Minute)) {
		t.Errorf("after the window: %+v", s)
	}
	f.over = true
	for i := range 30 {
		f.over = !f.over
		tick(t, m, f, 2000+120*i)
	}
	if e := m.Status()[0].Episodes; len(e) != 16 || e[0].ID == id || e[15].ID != id {
		t.Errorf("%d episodes", len(e))
	}
}

// A changed condition ends the episode of the old one.
func TestChangedRule(t *testing.T) {
	opt, f := options(t, ""), &fixed{over: true}
	tick(t, alerts.New(opt), f, 0)
	opt.Rules = []alerts.Rule{rule(t, "a", "share(f=v) > 0.3 in 1 h", 0)}
	m := alerts.New(opt)
	if s := m.Status()[0]; s.Active || !s.Episodes[0].Ended.Equal(start) {
		t.Errorf("the episode goes on: %+v", s)
	}
	if s := tick(t, m, f, 1); !s.Active || len(s.Episodes) != 2 {
		t.Errorf("the new condition: %+v", s)
	}
}

// The webhook gets a signed message, once for each episode, also after a restart. It has texts of
// items, cut and without control characters.
func TestWebhook(t *testing.T) {
	hook := newReceiver(t)
	opt, f := options(t, hook.URL), &fixed{over: true}
	for i := range 7 {
		f.texts = append(f.texts, alerts.Text{
			ID: fmt.Sprint(i), Title: "line\nbreak" + strings.Repeat("ä", 300), Time: start,
		})
	}
	m := alerts.New(opt)
	tick(t, m, f, 0)
	if waiting, err := deliver(t, m, 5); err != nil || waiting {
		t.Fatal(waiting, err)
	}
	tick(t, m, f, 1)
	m = alerts.New(opt)
	tick(t, m, f, 2)
	if waiting, err := deliver(t, m, 130); err != nil || waiting || len(hook.bodies) != 1 {
		t.Fatalf("%v %v, %d messages", waiting, err, len(hook.bodies))
	}
	at := start.Add(5 * time.Second)
	if want := alerts.Signature([]byte(secret), hook.bodies[0], at); hook.signatures[0] != want {
		t.Errorf("the signature is %s, want %s", hook.signatures[0], want)
	}
	var got struct {
		Episode, Alert, When string
		Count, Total         int
		Value                float64
		Items                []alerts.Text
	}
	if err := json.Unmarshal(hook.bodies[0], &got); err != nil {
		t.Fatal(err)
	}
	if got.Episode != m.Status()[0].Episodes[0].ID || got.Alert != "a" || got.Count != 12 ||
		got.Total != 40 || got.Value != .3 || len(got.Items) != 5 ||
		got.When != "share(f=v) > 0.2 in 2 h" {
		t.Errorf("the message is %s", hook.bodies[0])
	}
	if !strings.Contains(string(hook.bodies[0]), `share(f=v) > 0.2`) {
		t.Errorf("the condition is escaped in %s", hook.bodies[0])
	}
	title := got.Items[0].Title
	if n := len([]rune(title)); n != 200 || !strings.HasPrefix(title, "line break") {
		t.Errorf("a title has %d characters: %q", n, title)
	}
}

// A failed delivery is tried again with growing pauses, also after a restart, and given up after a
// day. No redirect is followed, and no error has the URL.
func TestWebhookFailures(t *testing.T) {
	hook := newReceiver(t)
	hook.status = http.StatusFound
	opt, f := options(t, hook.URL+"/token"), &fixed{over: true}
	m := alerts.New(opt)
	tick(t, m, f, 0)
	waiting, err := deliver(t, m, 0)
	const want = "the webhook of the alert a: it answered 302 Found"
	if !waiting || err == nil || err.Error() != want || len(hook.bodies) != 1 {
		t.Errorf("%v %v, %d messages", waiting, err, len(hook.bodies))
	}
	if waiting, err := deliver(t, m, 9); !waiting || err != nil || len(hook.bodies) != 1 {
		t.Errorf("before the pause is over: %v %v, %d messages", waiting, err, len(hook.bodies))
	}
	m = alerts.New(opt)
	hook.Close()
	_, err = deliver(t, m, 10)
	if err == nil || strings.Contains(err.Error(), "token") || m.Status()[0].Failures != 1 {
		t.Errorf("a webhook that is gone: %v", err)
	}
	for s := range 3 * 24 * 3600 / 60 {
		deliver(t, m, 60*s)
	}
	d := m.Status()[0].Episodes[0].Delivery
	if d.State != alerts.Failed || d.Attempts < 140 || d.Attempts > 160 || d.Error == "" {
		t.Errorf("after a day: %+v", d)
	}
}

// A message is signed with the time at which it is sent, also if the webhook of another rule has
// hung before. A receiver would refuse an old signature.
func TestSignatureAfterAHungWebhook(t *testing.T) {
	var sent []int64
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var at int64
		if _, err := fmt.Sscanf(q.Header.Get(alerts.SignatureHeader), "t=%d,", &at); err != nil {
			t.Error(err)
		}
		if sent = append(sent, at); len(sent) == 1 {
			time.Sleep(1100 * time.Millisecond)
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
	if _, err := deliver(t, m, 0); err != nil || len(sent) != 2 || sent[1] <= sent[0] {
		t.Errorf("%v, times of the signatures: %d", err, sent)
	}
}

// An error has only the beginning of what a webhook answers.
func TestLongErrorOfAWebhook(t *testing.T) {
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, out, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
			strings.Repeat("ä", 100_000))
		_ = out.Flush()
	}))
	defer hook.Close()
	m := alerts.New(options(t, hook.URL))
	tick(t, m, &fixed{over: true}, 0)
	_, err := deliver(t, m, 0)
	if kept := m.Status()[0].Episodes[0].Delivery.Error; err == nil || len(kept) > 400 {
		t.Errorf("%.80v, and an error of %d bytes is kept", err, len(kept))
	}
}

// failingDisk takes no file while err is set.
type failingDisk struct {
	durable.FS
	err error
}

func (d *failingDisk) Create(path string) (durable.File, error) {
	if d.err != nil {
		return nil, d.err
	}
	return d.FS.Create(path)
}

// Nobody is told of an episode that is not on disk, because a restart would begin it again.
func TestEpisodeIsWrittenBeforeItIsTold(t *testing.T) {
	hook := newReceiver(t)
	opt, f := options(t, hook.URL), &fixed{over: true}
	disk := &failingDisk{durable.Disk, errors.New("disk full")}
	opt.FS = disk
	m := alerts.New(opt)
	if err := m.Tick(t.Context(), f, start); !errors.Is(err, disk.err) {
		t.Errorf("the tick returns %v", err)
	}
	if _, err := deliver(t, m, 0); !errors.Is(err, disk.err) || len(hook.bodies) != 0 {
		t.Errorf("%v, %d messages", err, len(hook.bodies))
	}
	disk.err = nil
	if _, err := deliver(t, m, 0); err != nil || len(hook.bodies) != 1 {
		t.Errorf("%v, %d messages", err, len(hook.bodies))
	}
	if err := os.WriteFile(opt.Path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := alerts.New(opt).Status()[0]; s.Active || len(s.Episodes) > 0 {
		t.Errorf("from a damaged file: %+v", s)
	}
}
