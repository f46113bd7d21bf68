package eventlog

import (
	"time"

	"golang.org/x/sys/unix"
)

// elapsed returns the time since the system started, including the time that it was suspended. Go's
// monotonic clock leaves that out.
func elapsed() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return time.Since(started)
	}
	return time.Duration(t.Nano())
}
