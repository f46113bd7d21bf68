package redistest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP proxy between a client and a server that breaks the network, for connections that
// exist and for new ones. It is safe for concurrent use.
type Proxy struct {
	Addr     string
	listener net.Listener
	done     sync.WaitGroup

	mu       sync.Mutex
	target   string
	changed  sync.Cond // the fault has changed, or the proxy is closing
	conns    map[net.Conn]bool
	fault    Fault
	accepted int
	closing  bool
}

// Fault says what the proxy does to replies. The zero value does nothing.
type Fault struct {
	Delay      time.Duration // each piece of a reply is delayed by this much
	PieceBytes int           // replies are cut into pieces of this size; 0: as they come
	CutAfter   int           // the connection is reset after this many bytes of replies; 0: never
	Silent     bool          // replies are dropped
	Hold       bool          // replies are held back until the fault changes
}

// StartProxy runs a proxy in front of the server until the test ends.
func StartProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		Addr: listener.Addr().String(), target: s.Addr, listener: listener,
		conns: map[net.Conn]bool{},
	}
	p.changed.L = &p.mu
	p.done.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.closeAll()
		p.done.Wait()
	})
	return p
}

// URL returns the proxy's address as redisconn.Open takes it.
func (p *Proxy) URL() string { return "redis://" + p.Addr }

// SetFault changes what goes wrong.
func (p *Proxy) SetFault(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	p.changed.Broadcast()
}

// SwitchTo cuts all connections, and leads new ones to another server.
func (p *Proxy) SwitchTo(s *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = s.Addr
	for c := range p.conns {
		_ = c.Close()
	}
}

// Connections returns how many connections were ever accepted.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.accepted++
		if p.target != target { // SwitchTo came in between
			_, _ = client.Close(), server.Close()
		}
		p.mu.Unlock()
		p.done.Go(func() {
			_, _ = io.Copy(server, client)
			p.closePair(client, server)
		})
		p.done.Go(func() {
			p.copyReplies(client, server)
			p.closePair(client, server)
		})
	}
}

// copyReplies copies from the server to the client, under the fault that is set at each piece.
func (p *Proxy) copyReplies(client, server net.Conn) {
	buf := make([]byte, 1<<16)
	sent := 0
	for {
		n, err := server.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			f := p.currentFault()
			piece := rest
			if f.PieceBytes > 0 {
				piece = rest[:min(f.PieceBytes, len(rest))]
			}
			rest = rest[len(piece):]
			time.Sleep(f.Delay)
			if f.Silent {
				continue
			}
			if f.CutAfter > 0 && sent+len(piece) > f.CutAfter {
				_, _ = client.Write(piece[:max(0, f.CutAfter-sent)])
				if tcp, ok := client.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0) // so that closing sends a reset
				}
				return
			}
			sent += len(piece)
			if _, err := client.Write(piece); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// currentFault returns the fault, after waiting until replies are no longer held back.
func (p *Proxy) currentFault() Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.fault.Hold && !p.closing {
		p.changed.Wait()
	}
	return p.fault
}

func (p *Proxy) closePair(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}

func (p *Proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	p.changed.Broadcast()
	for c := range p.conns {
		_ = c.Close()
	}
}
