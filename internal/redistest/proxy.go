package redistest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands between a client and a server and makes the network bad, for all connections, old and new.
type Proxy struct {
	Addr   string
	target string
	ln     net.Listener
	done   sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	fault  Fault
	opened int
}

// Fault is what the proxy does to replies. The zero value does nothing.
type Fault struct {
	Delay      time.Duration // each piece of a reply is held up
	PieceBytes int           // replies are cut into pieces of so many bytes; 0: as they come
	CutAfter   int           // the connection is reset after so many bytes of replies; 0: never
	Silent     bool          // replies are swallowed
}

// StartProxy runs a proxy before the server until the test ends.
func StartProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: ln.Addr().String(), target: s.Addr, ln: ln, conns: map[net.Conn]bool{}}
	p.done.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		p.closeAll()
		p.done.Wait()
	})
	return p
}

// URL returns the proxy's address as relish takes it.
func (p *Proxy) URL() string { return "redis://" + p.Addr }

// SetFault changes what goes wrong.
func (p *Proxy) SetFault(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Connections returns how many connections were ever made.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = c.Close()
			continue
		}
		p.mu.Lock()
		p.conns[c], p.conns[s] = true, true
		p.opened++
		p.mu.Unlock()
		p.done.Go(func() {
			_, _ = io.Copy(s, c)
			p.end(c, s)
		})
		p.done.Go(func() {
			p.replies(c, s)
			p.end(c, s)
		})
	}
}

// replies copies from server to client under the fault of the moment.
func (p *Proxy) replies(c, s net.Conn) {
	buf := make([]byte, 1<<16)
	sent := 0
	for {
		n, err := s.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			p.mu.Lock()
			f := p.fault
			p.mu.Unlock()
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
				_, _ = c.Write(piece[:max(0, f.CutAfter-sent)])
				if tcp, ok := c.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0) // a reset, not an end
				}
				return
			}
			sent += len(piece)
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) end(conns ...net.Conn) {
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
	for c := range p.conns {
		_ = c.Close()
	}
}
