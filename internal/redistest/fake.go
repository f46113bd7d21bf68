package redistest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// StartRefusing runs a server that answers each command with an error reply until the test ends.
// The result serves as a target of Proxy.SwitchTo only.
func StartRefusing(t testing.TB, reply string) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go refuseCommands(conn, "-"+reply+"\r\n")
		}
	}()
	return &Server{t: t, Addr: listener.Addr().String()}
}

// refuseCommands answers until the client closes the connection.
func refuseCommands(conn net.Conn, reply string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for skipCommand(in) == nil {
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

// skipCommand reads one command: an array of bulk strings.
func skipCommand(in *bufio.Reader) error {
	line, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.Trim(line, "*\r\n"))
	if err != nil {
		return err
	}
	for range n {
		if line, err = in.ReadString('\n'); err != nil {
			return err
		}
		size, err := strconv.Atoi(strings.Trim(line, "$\r\n"))
		if err != nil {
			return err
		}
		if _, err := in.Discard(size + len("\r\n")); err != nil {
			return err
		}
	}
	return nil
}

// BlackHole returns an address that never answers to a dial, as if packets vanished: of a listener
// that accepts nothing and whose queue is full.
func BlackHole(t testing.TB) (addr string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in4, ok := bound.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("the address of the listener is %T", bound)
	}
	addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(in4.Port))
	for range 100 { // until a dial finds the queue full
		conn, err := net.DialTimeout("tcp", addr, 500*time.Millisecond)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return addr
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue of a listener that accepts nothing does not fill up")
	return ""
}
