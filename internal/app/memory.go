package app

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// nativeMemory is what the text encoder and other native code take outside of Go's heap.
const nativeMemory = 256 << 20

// limitMemory keeps Go's heap within the memory limit of the process's control group, so that a
// container is not killed for garbage that Go has not collected yet. The environment variable
// GOMEMLIMIT takes precedence. Without a limit nothing changes.
func limitMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	group, err := memlimit.FromCgroup()
	if err != nil { // no control group, or none with a limit
		return
	}
	heap := heapLimit(int64(min(group, 1<<62)))
	debug.SetMemoryLimit(heap)
	log.Info("the control group limits memory", "limit_bytes", group, "heap_bytes", heap)
}

// heapLimit returns the limit of Go's heap in a process that may take so many bytes.
func heapLimit(process int64) int64 { return max(process/2, process-nativeMemory) }
