//go:build !linux

package eventlog

import "time"

// elapsed returns the time since the process started.
func elapsed() time.Duration { return time.Since(started) }
