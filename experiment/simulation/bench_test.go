package simulation_test

import (
	"context"
	"runtime"
	"testing"

	"relish/experiment/analysis"
	"relish/experiment/simulation"
	"relish/features/eventlog"
	"relish/ranker"
)

// BenchmarkTenMillion reports on a log on disk of ten million events and 630,000 users:
//
//	go test ./experiment/simulation -run '^$' -bench TenMillion -benchtime 1x -timeout 60m
func BenchmarkTenMillion(b *testing.B) { benchmark(b, 10_000_000, 630_000) }

// BenchmarkOneMillion is the same with a tenth of the events and of the users.
func BenchmarkOneMillion(b *testing.B) { benchmark(b, 1_000_000, 63_000) }

// BenchmarkFewUsers has ten million events of a tenth of the users. Memory grows with users.
func BenchmarkFewUsers(b *testing.B) { benchmark(b, 10_000_000, 63_000) }

func benchmark(b *testing.B, events, users int) {
	dir := b.TempDir()
	log, err := eventlog.Open(dir, eventlog.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var batch []ranker.Event
	days := 30 * events / 10_000_000 * 630_000 / users
	n := 0
	traffic := simulation.Traffic{Seed: 1, Users: users, Days: max(30, days), Past: 7}
	for rec := range traffic.Records() {
		if batch = append(batch, rec.Event); len(batch) == 5000 {
			if _, err := log.Append(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
		if n++; n == events {
			break
		}
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var peak uint64
		opt := analysis.Options{Experiment: simulation.Experiment, Progress: func(done int) {
			if done%(1<<20) == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse)
			}
		}}
		r, err := analysis.Run(context.Background(), eventlog.Read(dir, 1), opt)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(r.Records)/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(float64(peak)/(1<<20), "MiB-heap")
	}
}
