// Package redistest starts real Redis servers for tests: a single server, a primary with a replica
// and a Sentinel, a cluster. A proxy in between makes the network slow, cut or silent.
//
// Each test has servers of its own, on free ports, which end with the test. redis-server must be
// installed: make test-setup does that.
package redistest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is one running redis-server.
type Server struct {
	t    testing.TB
	Addr string
	Port int
	Auth string // the password that Do and Try use; "": none
	dir  string
	args []string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

// Start runs a server with further arguments until the test ends. Its folder survives Kill and
// Start.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := New(t, args...)
	s.Start()
	return s
}

// New prepares a server without starting it.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	port := FreePort(t)
	s := &Server{t: t, Port: port, Addr: fmt.Sprintf("127.0.0.1:%d", port), dir: t.TempDir()}
	s.args = append([]string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", s.dir,
		"--repl-diskless-sync-delay", "0", "--daemonize", "no",
	}, args...)
	t.Cleanup(s.Kill)
	return s
}

// URL returns the server's address as redisconn.Open takes it.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Start runs the server and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatalf("this test needs redis-server; make test-setup installs it (%v)", err)
	}
	s.cmd = exec.Command(path, s.args...)
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		out, err := s.Try("PING")
		if err == nil && (strings.HasPrefix(out, "+PONG") || strings.HasPrefix(out, "-NOAUTH")) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server did not answer within a minute: %s", s.out.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Kill ends the server as kill -9 does. Start starts it again, without its data.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Pause freezes the server as kill -STOP does: connections stay open, and nothing answers.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Do sends one command on a new connection and returns the raw reply. An error reply fails the
// test.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	out, err := s.Try(args...)
	if err != nil || strings.HasPrefix(out, "-") {
		s.t.Fatalf("redis %v: %v %s", args, err, out)
	}
	return out
}

// Try sends one command on a new connection and returns the raw reply, which may be an error reply.
func (s *Server) Try(args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if s.Auth != "" {
		if out, err := exchange(conn, "AUTH", s.Auth); err != nil || out != "+OK\r\n" {
			return out, err
		}
	}
	return exchange(conn, args...)
}

func exchange(conn net.Conn, args ...string) (string, error) {
	var cmd bytes.Buffer
	fmt.Fprintf(&cmd, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&cmd, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := conn.Write(cmd.Bytes()); err != nil {
		return "", err
	}
	// A bulk reply says how long it is. Any other reply is short and comes in one read.
	var out []byte
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		out = append(out, buf[:n]...)
		if err != nil {
			return string(out), err
		}
		if isComplete(out) {
			return string(out), nil
		}
	}
}

func isComplete(reply []byte) bool {
	line, rest, ok := bytes.Cut(reply, []byte("\r\n"))
	if !ok || line[0] != '$' {
		return ok
	}
	n, err := strconv.Atoi(string(line[1:]))
	return err != nil || n < 0 || len(rest) >= n+2
}

// Info returns one number of the reply to INFO.
func (s *Server) Info(section, name string) int64 {
	s.t.Helper()
	for line := range strings.Lines(s.Do("INFO", section)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	s.t.Fatalf("INFO %s has no %s", section, name)
	return 0
}

// Calls returns how often a command was called, by INFO commandstats. name is in lower case.
func (s *Server) Calls(name string) int64 {
	s.t.Helper()
	for line := range strings.Lines(s.Do("INFO", "commandstats")) {
		if v, ok := strings.CutPrefix(line, "cmdstat_"+name+":calls="); ok {
			n, _, _ := strings.Cut(v, ",")
			calls, err := strconv.ParseInt(n, 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return calls
		}
	}
	return 0
}

// FreePort returns a port that nobody listens on, between 10000 and 22000. The kernel gives higher
// ports to outgoing connections, which could take the port before the server does. The bus of a
// cluster node listens on port+10000, which must exist as well.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(12_000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no free port between 10000 and 22000")
	return 0
}
