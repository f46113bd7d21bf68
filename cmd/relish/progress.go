package main

import (
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far long work is: a bar on a terminal, a line every few seconds elsewhere.
// It writes to standard error, so that standard output stays for results.
type progress struct {
	what string
	bar  *progressbar.ProgressBar
	last time.Time
	done int
}

func newProgress(what string) *progress {
	p := &progress{what: what, last: time.Now()}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = progressbar.NewOptions(-1, progressbar.OptionSetDescription(what),
			progressbar.OptionSetWriter(os.Stderr), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionThrottle(100*time.Millisecond))
	}
	return p
}

// set says that done of total are finished; total 0 means unknown.
func (p *progress) set(done, total int) {
	p.done = done
	if p.bar != nil {
		if total > 0 {
			p.bar.ChangeMax(total)
		}
		_ = p.bar.Set(done)
		return
	}
	if time.Since(p.last) < 5*time.Second {
		return
	}
	p.last = time.Now()
	if total > 0 {
		fmt.Fprintf(os.Stderr, "%s: %d of %d\n", p.what, done, total)
	} else {
		fmt.Fprintf(os.Stderr, "%s: %d\n", p.what, done)
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
		fmt.Fprintln(os.Stderr)
	}
}
