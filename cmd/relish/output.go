package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// printJSON writes v as one line to standard output.
func printJSON(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// newTable returns a table that Render writes to standard output.
func newTable(title string, header table.Row) table.Writer {
	w := table.NewWriter()
	w.SetOutputMirror(os.Stdout)
	w.SetTitle("%s", title)
	w.AppendHeader(header)
	return w
}

// progressInterval is the time between two lines of progress.
const progressInterval = 5 * time.Second

// progress shows how far long work is: as a bar on a terminal, and else as a line every few
// seconds. After the first line, there is one for the end of the work or for how far it came. It
// writes to standard error, because standard output is for results.
type progress struct {
	title   string
	bar     *progressbar.ProgressBar // nil if standard error is no terminal
	out     io.Writer                // of the lines
	last    time.Time                // of the last line
	begun   bool                     // a line was written
	pending bool                     // done and total are not written yet
	done    int
	total   int
}

func newProgress(title string) *progress {
	p := &progress{title: title, out: os.Stderr, last: time.Now()}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = progressbar.NewOptions(-1, progressbar.OptionSetDescription(title),
			progressbar.OptionSetWriter(os.Stderr), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionThrottle(100*time.Millisecond))
	}
	return p
}

// set shows that done of total are finished; a total of 0 means that it is unknown.
func (p *progress) set(done, total int) {
	if p.bar != nil {
		if total > 0 {
			p.bar.ChangeMax(total)
		}
		_ = p.bar.Set(done)
		return
	}
	if p.begun && done == p.done && total == p.total {
		return
	}
	p.done, p.total, p.pending = done, total, true
	if time.Since(p.last) >= progressInterval || p.begun && done == total {
		p.print()
	}
}

// print writes a line.
func (p *progress) print() {
	p.last, p.begun, p.pending = time.Now(), true, false
	switch {
	case p.total > 0:
		fmt.Fprintf(p.out, "%s: %d of %d\n", p.title, p.done, p.total)
	case p.done == 0:
		fmt.Fprintln(p.out, p.title)
	default:
		fmt.Fprintf(p.out, "%s: %d\n", p.title, p.done)
	}
}

// count shows that done are finished, of an unknown total.
func (p *progress) count(done int) { p.set(done, 0) }

// end ends the bar, or writes the last line. It may be called again, and on nil.
func (p *progress) end() {
	switch {
	case p == nil:
	case p.bar != nil:
		_ = p.bar.Finish()
		fmt.Fprintln(os.Stderr)
		p.bar = nil
	case p.begun && p.pending && p.total > 0:
		p.print()
	}
}

// stageProgress shows one progress after the other for the stages of some work. The first line of a
// stage is shown at once. The zero value is ready for use.
type stageProgress struct {
	stage   string
	current *progress
}

func (s *stageProgress) set(stage string, done, total int) {
	if stage != s.stage || s.current == nil {
		s.end()
		s.stage, s.current = stage, newProgress(stage)
		s.current.last = time.Time{}
	}
	s.current.set(done, total)
}

func (s *stageProgress) end() { s.current.end() }

// printable returns a text of a file or of a user as a terminal may show it: control characters,
// and characters that change the direction of writing, become escapes.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
