package main

import (
	"time"

	"relish/internal/app"
)

// limitFlags bound what clients can make the service hold. What exceeds a limit is refused.
type limitFlags struct {
	MaxInFlight     int           `help:"Most ranking slots. Fewer are used while rankings run short of time; what finds none gets 503." default:"256" placeholder:"N"`
	RatePerKey      float64       `help:"Requests a second for each API key, or in all without keys; 0 means no limit." default:"0" placeholder:"N"`
	MaxBodyMemory   int64         `help:"Memory for the bodies under way, decoded; the last quarter is for rankings." default:"134217728" placeholder:"BYTES"`
	MaxConnections  int           `help:"Open connections; the one idle for longest makes room for a new one." default:"4096" placeholder:"N"`
	RefusalDelay    time.Duration `help:"Wait before a ranking is refused while most are; clients that repeat at once then send less. 0: no wait." default:"200ms" placeholder:"DURATION"`
	MaxEncoderQueue int64         `help:"Memory of texts that wait for an encoder, of requests and of the background each." default:"67108864" placeholder:"BYTES"`
	MaxFreshTexts   int           `help:"Texts without a vector that one ranking waits for; the first candidates come first." default:"256" placeholder:"N"`
	MaxLogQueue     int64         `help:"Memory of events that wait for the disk; above it /feedback answers 503." default:"67108864" placeholder:"BYTES"`
	LogTimeout      time.Duration `help:"Longest time that a request waits for the event log." default:"5s" placeholder:"DURATION"`
}

func (f *limitFlags) limits() app.Limits {
	return app.Limits{
		MaxInFlight: f.MaxInFlight, RatePerKey: f.RatePerKey, BodyMemory: f.MaxBodyMemory,
		MaxConnections: f.MaxConnections, RefusalDelay: f.RefusalDelay,
		EncoderQueue: f.MaxEncoderQueue, FreshTexts: f.MaxFreshTexts,
		LogQueue: f.MaxLogQueue, LogTimeout: f.LogTimeout,
	}
}
