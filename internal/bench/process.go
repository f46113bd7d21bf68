package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of processor times in /proc, the same on all of today's Linux machines.
const clockTick = time.Second / 100

// processorTime returns the processor time that a process has used, 0 if it is not known.
func processorTime(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field, the name in brackets, may contain blanks. utime and stime are the fields 14
	// and 15.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(string(fields[11]), 10, 64)
	system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * clockTick
}

// residentMemory returns the memory of a process in bytes, 0 if it is not known.
func residentMemory(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// ListeningProcess returns the process that listens at the address of a service. It fails if there
// is none on this machine that this user may look into.
func ListeningProcess(ctx context.Context, address string) (int, error) {
	base, err := url.Parse(address)
	if err != nil {
		return 0, err
	}
	local, err := isLocal(ctx, base.Hostname())
	if err != nil {
		return 0, err
	}
	port, err := strconv.Atoi(base.Port())
	if err != nil {
		port = 80
	}
	if sockets := listeningSockets(port); local && len(sockets) > 0 {
		if pid := socketOwner(sockets); pid != 0 {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("found no process on this machine that listens at %s", address)
}

// isLocal reports whether a host is this machine.
func isLocal(ctx context.Context, host string) (bool, error) {
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return false, err
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false, err
	}
	for _, a := range addresses {
		if a.IP.IsLoopback() {
			return true, nil
		}
		for _, o := range own {
			if n, ok := o.(*net.IPNet); ok && n.IP.Equal(a.IP) {
				return true, nil
			}
		}
	}
	return false, nil
}

// listeningSockets returns the names of the sockets that listen at a port, as /proc/PID/fd shows
// them.
func listeningSockets(port int) map[string]bool {
	const listening = "0A"
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
			f := strings.Fields(lines.Text()) // slot, local address, remote address, state, …
			if len(f) < 10 || f[3] != listening {
				continue
			}
			if _, p, _ := strings.Cut(f[1], ":"); p == fmt.Sprintf("%04X", port) {
				sockets["socket:["+f[9]+"]"] = true
			}
		}
	}
	return sockets
}

// socketOwner returns the process that has one of the sockets open, 0 if none is found.
func socketOwner(sockets map[string]bool) int {
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*") // fails only for a pattern that is not valid
	for _, file := range files {
		name, err := os.Readlink(file)
		if err != nil || !sockets[name] {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err == nil {
			return pid
		}
	}
	return 0
}
