// Package importfile reads files as other systems export them, and yields events.
//
// A file is CSV with any separator, JSON (one object a line, objects that span lines, or an array)
// or Parquet, plain or compressed by gzip or zstd. JSON objects are events, native or in
// Metarank's form, or rows of a table. A table has one row for each interaction, item or user; its
// columns are mapped to the fields of events.
//
// The first rows of a file, the sample, decide in which unit its times are and which types its
// columns have. The rest of the file must agree: a row that does not is rejected with the reason.
// Reader.Description says what was decided.
//
// An event without an id gets one that depends on its content, so that overlapping exports count
// an event once, whatever the order of their rows.
package importfile

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"relish/features/event"
	"relish/ranker"
)

// Format is the format of a file.
type Format string

// The formats of files. The zero format is detected.
const (
	Auto    Format = ""
	CSV     Format = "csv"
	JSON    Format = "json"
	Parquet Format = "parquet"
)

// MaxRow bounds a row or an event in bytes. A longer one is rejected.
const MaxRow = event.MaxLine

// Options say how files are read. The zero value detects what it can.
type Options struct {
	Format Format
	// Metarank reads every JSON object in Metarank's form. Otherwise its field "event" tells.
	Metarank bool
	// Kind is what a row of a table describes: ranker.EventInteraction, EventItem or EventUser. If
	// it is "", CSV and Parquet files hold interactions, and JSON files hold events.
	Kind ranker.EventKind
	// Columns maps names of Relish, such as user or item, to columns of the file. A name that is
	// not mapped is looked up as it is. "" as a column means that the file has none.
	Columns map[string]string
	Action  string            // of rows without an action
	Actions map[string]string // from the actions of the file to those that are stored
	// Types sets the types of fields of items and users: number, bool, text or list. The sample
	// decides the others.
	Types map[string]string
	// Separator separates the columns of CSV; 0 = detected.
	Separator rune
	// ListSeparator separates the values of a list in one cell; "" = |.
	ListSeparator string
	// TimeUnit is the unit of times that are numbers; AnyUnit = detected.
	TimeUnit TimeUnit
	// Source is put before the ids that the files give to their events, except impressions, which
	// other events name. Ids of two systems cannot collide then.
	Source string
	// Moment is the time of the import in Unix ms. It is part of the ids of items and users without
	// a time and an id: the same description counts again after another one.
	Moment int64
	// OpenParquet opens a Parquet file as a table. It should read the file in another process: a
	// damaged file can harm the process that reads it. nil = Parquet is refused.
	OpenParquet func(path string) (io.ReadCloser, error)
}

// Row is one event of a file, or the reason why the row has none.
type Row struct {
	Line  int // line, or row of a Parquet file, from 1
	Event ranker.Event
	Err   *ranker.EventError
}

// Reader reads one file. Call Rows once, then Err. It is not safe for concurrent use.
type Reader struct {
	name string
	in   io.Reader // nil: the file of that name
	opt  Options
	ids  idMaker
	desc Description
	err  error
}

// Open returns a Reader of the named file.
func Open(path string, opt Options) *Reader { return newReader(path, nil, opt) }

// NewReader returns a Reader of in. The name, of which the ending can tell the format, is for
// messages.
func NewReader(name string, in io.Reader, opt Options) *Reader { return newReader(name, in, opt) }

func newReader(name string, in io.Reader, opt Options) *Reader {
	if opt.ListSeparator == "" {
		opt.ListSeparator = "|"
	}
	return &Reader{name: name, in: in, opt: opt, ids: newIDMaker(opt)}
}

// Err returns the error that ended Rows early, nil if Rows read the whole file. It begins with the
// name of the file.
func (r *Reader) Err() error { return r.err }

// Description says how the file is read. It is complete once Rows has yielded a row.
func (r *Reader) Description() *Description { return &r.desc }

// Rows yields the events of the file in order. An event that is yielded without an error is valid.
func (r *Reader) Rows() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		err := r.read(yield)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: the file is truncated; copy or export it again", err)
		}
		if err != nil && !errors.Is(err, errStopped) {
			r.err = fmt.Errorf("%s: %w", r.name, err)
		}
	}
}

// errStopped ends the reading when the caller has seen enough.
var errStopped = errors.New("stopped")

func (r *Reader) read(yield func(Row) bool) (err error) {
	in := r.in
	if in == nil {
		f, err := os.Open(r.name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	stream, err := decompress(in)
	if err != nil {
		return err
	}
	defer stream.close()
	format, err := r.detect(stream)
	if err != nil {
		return err
	}
	r.desc.Format = format
	emit := func(line int, e ranker.Event, bad *ranker.EventError) error {
		r.desc.Rows++
		if bad == nil {
			r.ids.complete(&e)
			bad = event.Validate(&e)
		}
		if !yield(Row{line, e, bad}) {
			return errStopped
		}
		return nil
	}
	switch {
	case format == Parquet:
		return r.readParquet(emit)
	case format == CSV:
		t, err := newCSVTable(stream, r.opt.Separator)
		if err != nil {
			return err
		}
		r.desc.Separator = t.separator
		return r.readTable(t, emit)
	case r.opt.table():
		return r.readTable(newJSONTable(stream), emit)
	}
	return r.readEvents(newDocuments(stream), emit)
}

// emitFunc takes the event of a row, or the reason why it has none.
type emitFunc func(line int, e ranker.Event, bad *ranker.EventError) error

// table reports whether JSON objects are rows of a table.
func (o *Options) table() bool {
	return o.Kind != "" || len(o.Columns) > 0 || o.Action != "" || len(o.Types) > 0
}

// readParquet reads the rows that another process makes of a Parquet file, see package parquetrows.
func (r *Reader) readParquet(emit emitFunc) error {
	if r.in != nil || r.opt.OpenParquet == nil {
		return errors.New("a Parquet file is read from its place on disk: name the file")
	}
	rows, err := r.opt.OpenParquet(r.name)
	if err != nil {
		return err
	}
	t, err := newParquetTable(rows)
	if err == nil {
		err = r.readTable(t, emit)
	}
	// The process says best why its output ended.
	if closeErr := rows.Close(); closeErr != nil && !errors.Is(err, errStopped) {
		return closeErr
	}
	return err
}
