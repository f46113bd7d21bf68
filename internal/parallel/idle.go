package parallel

import (
	"runtime"
	"sync/atomic"
)

// requests is the number of requests that are being worked on.
var requests atomic.Int64

// Enter counts a request of this process that is being worked on. Leave ends it.
func Enter() { requests.Add(1) }

// Leave ends what Enter began. It is called once for each Enter.
func Leave() { requests.Add(-1) }

// HasIdle reports whether fewer requests are being worked on than there are processors. Spreading
// the work of one request wins time only then. Otherwise it only costs switches between goroutines.
func HasIdle() bool { return requests.Load() < int64(runtime.GOMAXPROCS(0)) }
