package app

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relish/embeddings/classifier"
	"relish/internal/alerts"
	"relish/internal/config"
	"relish/ranker"
)

// A service tells the webhook of an alert once, with the newest texts, also after a restart.
func TestAlertsOfAService(t *testing.T) {
	got := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get(alerts.SignatureHeader) == "" {
			t.Error(err, r.Header)
		}
		got <- string(body)
	}))
	defer hook.Close()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Alerts = []alerts.Config{{
		Name: "many", When: "count(topic=tax) > 7 in 2 h", MinCount: 1, Webhook: hook.URL,
		SecretFile: secret,
	}}
	opt := Options{
		Config: cfg, Store: StoreOptions{Data: filepath.Join(dir, "d")},
		Encoder: EncoderOptions{NoText: true},
	}
	mood := filepath.Join(classifier.Folder(opt.Store.Data), "mood") // its labels count by default
	if err := os.MkdirAll(mood, 0o700); err != nil {
		t.Fatal(err)
	}
	fill := func(a *App, n int) {
		for i := range n {
			id, title := fmt.Sprint("item", i), fmt.Sprint("title ", i)
			e := ranker.Event{
				Kind: ranker.EventItem, ID: fmt.Sprint(n, id), ItemID: id, Title: &title,
				Time:   time.Now().Add(time.Duration(i-n) * time.Second).UnixMilli(),
				Fields: map[string]ranker.FieldValue{"topic": ranker.StringValue("tax")},
			}
			if _, err := a.engine.Store.Append(t.Context(), []ranker.Event{e}); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, err := New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	fill(a, 8)
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var message string
	for round := range 2 {
		if a, err = New(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
		runApp(t, a, func(url string) {
			decideNow(t, a)
			if round == 0 {
				message = <-got
			}
			body := getBody(t, url+"/trends/fields")
			if !strings.Contains(body, `"fields":["mood","topic"]`) {
				t.Errorf("counted are %s", body)
			}
			body = getBody(t, url+"/alerts")
			if !strings.Contains(body, `"active":true`) || strings.Count(body, `"started"`) != 1 {
				t.Errorf("round %d: %s", round, body)
			}
			body = getBody(t, url+"/metrics")
			for _, want := range []string{
				`relish_alert_active{alert="many"} 1`, `relish_alert_decided{alert="many"} 1`,
				fmt.Sprintf(`relish_alert_episodes_total{alert="many"} %d`, 1-round),
				`relish_alert_webhook_failures_total{alert="many"} 0`,
			} {
				if !strings.Contains(body, want) {
					t.Errorf("round %d: no metric %s", round, want)
				}
			}
		})()
	}
	if len(got) > 0 {
		t.Errorf("the webhook was called again: %s", <-got)
	}
	for i := range 5 {
		if want := fmt.Sprintf(`"id":"item%d"`, 7-i); !strings.Contains(message, want) {
			t.Errorf("no %s in %s", want, message)
		}
	}
	if strings.Count(message, `"title":`) != 5 {
		t.Errorf("the message is %s", message)
	}
}

// decideNow decides the rules as soon as the trends are complete, and sends what is due.
func decideNow(t *testing.T, a *App) {
	t.Helper()
	source := alertSource{a.trends, a.engine.Store}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if err := a.alerts.Tick(t.Context(), source, time.Now()); err != nil {
			t.Fatal(err)
		}
		if a.alerts.Status()[0].Decision.State != alerts.Undecided {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("undecided: %+v", a.alerts.Status())
		}
	}
}

// A webhook without a usable secret is refused at the start.
func TestAlertSecrets(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("0123\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		short:        "has 4 bytes; write at least 16, such as by openssl rand -hex 32",
		short + "er": "no such file",
	} {
		cfg := config.Default()
		cfg.Alerts = []alerts.Config{{
			Name: "a", When: "count(f=v) > 1 in 1 h", Webhook: "https://a.example",
			SecretFile: path,
		}}
		_, err := New(t.Context(), Options{
			Config: cfg, Store: StoreOptions{Data: filepath.Join(t.TempDir(), "d")},
			Encoder: EncoderOptions{NoText: true},
		})
		if err == nil || !strings.Contains(err.Error(), "alerts[0] (a): secret_file") ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// An alert about a tag names the items that have it, as one about a field does.
func TestTextsOfATag(t *testing.T) {
	a, err := New(t.Context(), Options{
		Config: config.Default(), Store: StoreOptions{Data: t.TempDir()},
		Encoder: EncoderOptions{NoText: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	title := "A title"
	_, err = a.engine.Store.Append(t.Context(), []ranker.Event{{
		Kind: ranker.EventItem, ID: "e", ItemID: "i", Title: &title, Tags: []string{"a", "tax"},
		Time: time.Now().UnixMilli(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	source := alertSource{a.trends, a.engine.Store}
	texts, err := source.Texts(t.Context(), "tags", "tax", time.Time{}, 5)
	if err != nil || len(texts) != 1 || texts[0].ID != "i" {
		t.Errorf("texts %+v, %v", texts, err)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
