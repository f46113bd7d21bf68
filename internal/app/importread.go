package app

import (
	"context"
	"io"
	"os"

	"relish/features/importfile"
)

// open returns the reader of a file, whose reads end with ctx. A read of standard input or of a
// pipe may wait for its writer for ever.
func (i *Import) open(ctx context.Context, name string) *importfile.Reader {
	if name == "-" {
		in := &waitingReader{ctx: ctx, open: func() (io.ReadCloser, error) {
			return io.NopCloser(i.In), nil
		}}
		return importfile.NewReader("standard input", in, i.Options)
	}
	// What cannot be found or is no file is reported by the reader of files.
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		in := &waitingReader{ctx: ctx, open: func() (io.ReadCloser, error) {
			return os.Open(name) // it waits for a writer too
		}}
		return importfile.NewReader(name, in, i.Options)
	}
	return importfile.Open(name, i.Options)
}

// waitingReader reads on a goroutine of its own, so that Read returns when ctx ends. The goroutine
// ends with the read that it waits for then.
type waitingReader struct {
	ctx  context.Context
	open func() (io.ReadCloser, error)

	parts chan part // nil before the first Read
	rest  part
}

// part is a piece of the input, with the error after it.
type part struct {
	data []byte
	err  error
}

// partBytes is the size of a piece of the input.
const partBytes = 64 << 10

// Read implements io.Reader.
func (r *waitingReader) Read(p []byte) (int, error) {
	if r.parts == nil {
		r.parts = make(chan part)
		go r.run()
	}
	if len(r.rest.data) == 0 && r.rest.err == nil {
		select {
		case r.rest = <-r.parts:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
	n := copy(p, r.rest.data)
	if r.rest.data = r.rest.data[n:]; n > 0 {
		return n, nil
	}
	return 0, r.rest.err
}

// run reads the input to its end, or until ctx ends.
func (r *waitingReader) run() {
	send := func(p part) bool {
		select {
		case r.parts <- p:
			return p.err == nil
		case <-r.ctx.Done():
			return false
		}
	}
	in, err := r.open()
	if err != nil {
		send(part{err: err})
		return
	}
	for more := true; more; {
		data := make([]byte, partBytes)
		n, err := in.Read(data)
		more = send(part{data[:n], err})
	}
	_ = in.Close() // it was only read
}
