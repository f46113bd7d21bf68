// Package redistest starts real Redis servers for tests: a single one, a primary with its replica and a
// sentinel, a cluster; and a proxy that makes the network between slow, cut or silent.
package redistest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	Auth string // the password that Do and Try give, if any
	dir  string
	args []string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

// Start runs a server with further arguments until the test ends. Its folder is kept over restarts.
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
	s.args = append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0", "--dir", s.dir, "--daemonize", "no"}, args...)
	t.Cleanup(s.Kill)
	return s
}

// URL returns the server's address as relish takes it.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Start runs the server and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatalf("redis-server is needed: make test-setup installs it (%v)", err)
	}
	s.cmd = exec.Command(path, s.args...)
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		if out, err := s.Try("PING"); err == nil && (strings.HasPrefix(out, "+PONG") || strings.HasPrefix(out, "-NOAUTH")) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server does not answer: %s", s.out.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Kill ends the server as kill -9 does. It may be started again.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Pause freezes the server as kill -STOP does, and Continue lets it go on.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume see Stop.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Do sends one command on a connection of its own and returns the raw reply; an error reply fails the
// test.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	out, err := s.Try(args...)
	if err != nil || strings.HasPrefix(out, "-") {
		s.t.Fatalf("redis %v: %v %s", args, err, out)
	}
	return out
}

// Try is Do without the failing.
func (s *Server) Try(args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
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
	// One read is enough for short replies; a bulk one says how long it is.
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

// Info returns one number of INFO.
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

// Calls returns how often a command was called, by INFO commandstats.
func (s *Server) Calls(command string) int64 {
	s.t.Helper()
	for line := range strings.Lines(s.Do("INFO", "commandstats")) {
		if v, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
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

// FreePort returns a port that nobody listens on. It looks below the ports that the kernel gives to outgoing
// connections, one of which may else take it before the server does; and a cluster node's bus listens on port+10000,
// which must be there as well.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(12_000)
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = ln.Close()
			return port
		}
	}
	t.Fatal("no free port between 10000 and 22000")
	return 0
}

// Cluster is a running Redis Cluster.
type Cluster struct{ Nodes []*Server }

// StartCluster runs a cluster of n primaries, each with the given number of replicas.
func StartCluster(t testing.TB, n, replicas int) *Cluster {
	t.Helper()
	c := &Cluster{}
	for range n * (1 + replicas) {
		c.Nodes = append(c.Nodes, Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "1000"))
	}
	for i, node := range c.Nodes[:n] {
		node.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*16384/n), strconv.Itoa((i+1)*16384/n-1))
		node.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, node := range c.Nodes[1:] {
		node.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.Nodes[0].Port))
	}
	waitFor(t, "cluster nodes know each other", c.known)
	for i, node := range c.Nodes[n:] {
		id := strings.Split(c.Nodes[i%n].Do("CLUSTER", "MYID"), "\r\n")[1]
		waitFor(t, "a node replicates", func() bool {
			out, err := node.Try("CLUSTER", "REPLICATE", id)
			return err == nil && strings.HasPrefix(out, "+")
		})
		waitFor(t, "a replica is connected", func() bool { return strings.Contains(node.Do("INFO", "replication"), "master_link_status:up") })
	}
	waitFor(t, "the cluster comes up", c.ok)
	return c
}

// known reports whether every node knows every other.
func (c *Cluster) known() bool {
	for _, n := range c.Nodes {
		if out, err := n.Try("CLUSTER", "INFO"); err != nil || !strings.Contains(out, fmt.Sprintf("cluster_known_nodes:%d\r", len(c.Nodes))) {
			return false
		}
	}
	return true
}

func (c *Cluster) ok() bool {
	for _, n := range c.Nodes {
		if out, err := n.Try("CLUSTER", "INFO"); err != nil || !strings.Contains(out, "cluster_state:ok") {
			return false
		}
	}
	return true
}

func waitFor(t testing.TB, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// URL returns the cluster's address as relish takes it.
func (c *Cluster) URL() string {
	var hosts []string
	for _, n := range c.Nodes {
		hosts = append(hosts, n.Addr)
	}
	return "redis-cluster://" + strings.Join(hosts, ",")
}

// StartSentinel runs a sentinel that watches the primary, which has one connected replica, under the name "relish". It
// returns when the sentinel knows both.
func StartSentinel(t testing.TB, primary *Server) (url string) {
	t.Helper()
	port := FreePort(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\nsentinel monitor relish 127.0.0.1 %d 1\nsentinel down-after-milliseconds relish 500\nsentinel failover-timeout relish 2000\n", port, primary.Port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", conf, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := &Server{t: t, Addr: fmt.Sprintf("127.0.0.1:%d", port)}
	waitFor(t, "the sentinel knows the replica", func() bool {
		out, err := s.Try("SENTINEL", "REPLICAS", "relish")
		return err == nil && strings.HasPrefix(out, "*1\r\n")
	})
	return fmt.Sprintf("redis-sentinel://%s/relish", s.Addr)
}
