package app

import "time"

// Limits bound what clients can make the service hold. A zero field means its default.
type Limits struct {
	// MaxInFlight is the most ranking slots; their number follows the load. Default: 256.
	MaxInFlight int
	// RatePerKey is the requests a second of each API key. Default: no limit.
	RatePerKey float64
	// BodyMemory is the bytes that the bodies under way take. Default: 128 MiB.
	BodyMemory int64
	// MaxConnections is the open connections. Default: 4,096.
	MaxConnections int
	// RefusalDelay is how long a ranking waits for its refusal while most are refused. Default: not
	// at all.
	RefusalDelay time.Duration
	// EncoderQueue is the bytes of texts that requests wait for, and of those that wait in the
	// background, for each encoder. Default: 64 MiB each.
	EncoderQueue int64
	// FreshTexts is how many texts without a vector one ranking waits for. Default: no bound.
	FreshTexts int
	// LogQueue is the bytes of events that wait for the disk. Default: 64 MiB.
	LogQueue int64
	// LogTimeout is how long a request waits for the event log. Default: 5 s.
	LogTimeout time.Duration
}
