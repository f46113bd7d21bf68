package app

import (
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"relish/embeddings/classifier"
	"relish/features/trends"
	"relish/internal/alerts"
	"relish/internal/config"
)

// newTrends returns the follower that counts field values of a data folder over time: of the fields
// in the configuration, or of those that classifiers write, and of those that alert rules name.
func newTrends(
	data string, cfg *config.Config, rules []alerts.Rule, log *slog.Logger,
) *trends.Follower {
	return trends.NewFollower(trends.FollowerOptions{
		Dir: data, Actions: cfg.State.Actions, Log: log,
		Fields: func() (fields []string, err error) {
			fields = slices.Clone(cfg.Trends.Fields)
			if len(fields) == 0 {
				fields, err = classifier.Names(classifier.Folder(data))
			}
			for _, r := range rules {
				if !slices.Contains(fields, r.Field) {
					fields = append(fields, r.Field)
				}
			}
			return fields, err
		},
	})
}

// registerTrends exposes the size of the trends.
func registerTrends(registry *prometheus.Registry, f *trends.Follower) {
	m := meter{registry}
	read := func(value func(c *trends.Counts, behind uint64) float64) func() float64 {
		return func() (v float64) {
			f.Read(func(c *trends.Counts, behind uint64) { v = value(c, behind) })
			return v
		}
	}
	m.gauge("trends_behind_records", "Records of the event log that the trends do not count yet.",
		read(func(_ *trends.Counts, behind uint64) float64 { return float64(behind) }))
	m.gauge("trends_counts", "Counts by value and hour or day that the trends hold.",
		read(func(c *trends.Counts, _ uint64) float64 {
			cells, _ := c.Sizes()
			return float64(cells)
		}))
	m.gauge("trends_items", "Items whose field values the trends remember.",
		read(func(c *trends.Counts, _ uint64) float64 {
			_, items := c.Sizes()
			return float64(items)
		}))
}
