package app

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"relish/features/trends"
	"relish/internal/alerts"
	"relish/ranker"
)

// Bounds of the alerts.
const (
	// alertPause is the time between two decisions of the rules, and deliveryPause between two
	// looks at which messages are due.
	alertPause    = 30 * time.Second
	deliveryPause = 2 * time.Second
	// alertTexts bounds the time in which the texts of an alert are looked for.
	alertTexts = 20 * time.Second
	// maxBehind is how many records the trends may lack when rules are decided.
	maxBehind      = 10_000
	minSecretBytes = 16
)

// alertsPath returns the file of the episodes of alerts in a data folder.
func alertsPath(data string) string { return filepath.Join(data, "alerts.json") }

// openAlerts returns the monitor of the rules, nil if there are none.
func openAlerts(opt Options, rules []alerts.Rule) (*alerts.Monitor, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	secrets := make([][]byte, len(rules))
	for i, r := range rules {
		if r.Webhook == "" {
			continue
		}
		secret, err := os.ReadFile(r.SecretFile)
		if err != nil {
			return nil, Usagef("alerts[%d] (%s): secret_file: %w", i, r.Name, err)
		}
		if secrets[i] = bytes.TrimSpace(secret); len(secrets[i]) < minSecretBytes {
			return nil, Usagef("alerts[%d] (%s): secret_file %s has %d bytes; write at least %d, "+
				"such as by openssl rand -hex 32", i, r.Name, r.SecretFile, len(secrets[i]),
				minSecretBytes)
		}
	}
	return alerts.New(alerts.Options{
		Rules: rules, Secrets: secrets, Path: alertsPath(opt.Store.Data), Log: opt.Log,
	}), nil
}

// alertJobs are the background jobs of the alerts: one decides the rules, one tells the webhooks.
func (a *App) alertJobs() []job {
	source := alertSource{a.trends, a.engine.Store}
	decide := func(ctx context.Context, report func(error)) {
		every(ctx, alertPause, func() {
			if err := a.alerts.Tick(ctx, source, time.Now()); ctx.Err() == nil {
				report(err)
			}
		})
	}
	deliver := func(ctx context.Context, report func(error)) {
		every(ctx, deliveryPause, func() {
			waiting, err := a.alerts.Deliver(ctx, time.Now())
			if ctx.Err() == nil && (err != nil || !waiting) { // a failure stays until the next try
				report(err)
			}
		})
	}
	return []job{{"alerts", decide}, {"alert webhooks", deliver}}
}

// every calls f at once and after each pause, until ctx ends.
func every(ctx context.Context, pause time.Duration, f func()) {
	for {
		f()
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// alertSource gives alerts the trends and the texts of the catalogue.
type alertSource struct {
	trends *trends.Follower
	store  interface {
		Items(ctx context.Context) iter.Seq2[*ranker.ItemInfo, error]
	}
}

// Hours implements alerts.Source.
func (s alertSource) Hours(
	field, source, value string, now time.Time,
) (h *trends.Hours, err error) {
	s.trends.Read(func(c *trends.Counts, behind uint64) {
		if h, err = c.Hours(field, source, value, now); err == nil && behind > maxBehind {
			err = fmt.Errorf("%w: %d records of the event log are not counted yet",
				alerts.ErrNotReady, behind)
		}
	})
	if uncounted := (*trends.QueryError)(nil); errors.As(err, &uncounted) {
		err = fmt.Errorf("%w: %w", alerts.ErrNotReady, err)
	}
	return h, err
}

// Texts implements alerts.Source. It goes through the catalogue, which is rare: once an episode.
func (s alertSource) Texts(
	ctx context.Context, field, value string, since time.Time, n int,
) ([]alerts.Text, error) {
	ctx, cancel := context.WithTimeout(ctx, alertTexts)
	defer cancel()
	var newest []alerts.Text
	for it, err := range s.store.Items(ctx) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return newest, err
		}
		has := false
		it.EachValueOrTag(field, func(v string) { has = has || v == value })
		if !has {
			continue
		}
		var at time.Time
		s.trends.Read(func(c *trends.Counts, _ uint64) { at, _ = c.TextTime(it.ID) })
		if at.Before(since) {
			continue
		}
		item := it.Item()
		newest = append(newest, alerts.Text{
			ID: it.ID, Title: cmp.Or(item.Title, item.Text), Time: at,
		})
		if len(newest) > 2*n {
			newest = newestTexts(newest, n)
		}
	}
	return newestTexts(newest, n), nil
}

// newestTexts returns the n newest texts, newest first.
func newestTexts(texts []alerts.Text, n int) []alerts.Text {
	slices.SortFunc(texts, func(a, b alerts.Text) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.ID, b.ID))
	})
	return texts[:min(n, len(texts))]
}

// registerAlerts exposes the rules, by name.
func registerAlerts(registry *prometheus.Registry, m *alerts.Monitor) {
	for i, s := range m.Status() {
		labels := prometheus.Labels{"alert": s.Name}
		registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "relish_alert_active", ConstLabels: labels,
				Help: "1 while an episode of an alert lasts.",
			}, func() float64 { return oneIf(m.Rule(i).Active) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "relish_alert_decided", ConstLabels: labels,
				Help: "1 if an alert had enough texts and history to decide; GET /alerts " +
					"says why not.",
			}, func() float64 { return oneIf(m.Rule(i).Decision.State != alerts.Undecided) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "relish_alert_episodes_total", ConstLabels: labels,
				Help: "Episodes of an alert that began.",
			}, func() float64 { return float64(m.Rule(i).Begun) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "relish_alert_webhook_failures_total", ConstLabels: labels,
				Help: "Calls of an alert's webhook that failed. They are tried again for a day.",
			}, func() float64 { return float64(m.Rule(i).Failures) }))
	}
}
