package features_test

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"relish/features"
	"relish/features/storetest"
)

// heap returns the bytes of the heap that are in use.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkMemory reports what items and users take in memory. docs/capacity.md has the figures:
//
//	go test ./features -run - -bench Memory -benchtime 1x
func BenchmarkMemory(b *testing.B) {
	const items = 10_000
	for name, f := range map[string]storetest.Filling{
		"item":                    {Items: 50_000},
		"user of 20 interactions": {Users: 10_000, Clicks: 20},
		"user of full histories":  {Users: 1000, Clicks: 100, Lists: 14},
	} {
		b.Run(name, func(b *testing.B) {
			s, things := features.New(features.DefaultConfig()), f.Users+f.Items
			if f.Users > 0 {
				f.Items = items
				storetest.Fill(s, storetest.Filling{Items: items, Users: 1, Lists: 5000})
			}
			before := heap()
			for b.Loop() {
				storetest.Fill(s, f)
			}
			b.ReportMetric((heap()-before)/float64(things), "B/each")
			runtime.KeepAlive(s)
		})
	}
}

// BenchmarkCheckpoint reports how fast a state is saved and read. docs/capacity.md has the figures:
//
//	go test ./features -run - -bench Checkpoint -benchtime 1x
func BenchmarkCheckpoint(b *testing.B) {
	cfg := features.DefaultConfig()
	s := features.New(cfg)
	storetest.Fill(s, storetest.Filling{Items: 100_000, Users: 100_000, Clicks: 5})
	var file bytes.Buffer
	if err := s.WriteCheckpoint(&file); err != nil {
		b.Fatal(err)
	}
	items, users, _ := s.Sizes()
	perSecond := func(b *testing.B, start time.Time) {
		b.ReportMetric(float64(items+users)*float64(b.N)/time.Since(start).Seconds(), "records/s")
	}
	b.Run("save", func(b *testing.B) {
		start := time.Now()
		for b.Loop() {
			save := s.BeginSave()
			var packed []byte
			for more := true; more; {
				packed, more = save.Next(packed)
			}
			save.End()
		}
		perSecond(b, start)
	})
	b.Run("read", func(b *testing.B) {
		start := time.Now()
		for b.Loop() {
			if _, err := features.ReadCheckpoint(cfg, bytes.NewReader(file.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, start)
	})
}
