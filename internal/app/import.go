package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"relish/features/importfile"
	"relish/features/ingest"
	"relish/ranker"
)

// EventSink takes events, see ranker.Store. A Store and a Server implement it.
type EventSink interface {
	// Append makes events durable. The outcomes are aligned with the events. The sink owns the
	// events afterwards.
	Append(ctx context.Context, events []ranker.Event) ([]ranker.EventOutcome, error)
}

// Import brings the events of files into a sink. Sink, Files and Rejected are required.
type Import struct {
	Sink    EventSink
	Files   []string  // names of files; "-" is In
	In      io.Reader // standard input
	Options importfile.Options
	Counted []string // actions that the configuration counts
	// Catalogue has the described items when the files are read; nil: they are not known.
	Catalogue Store
	// Rejected is called for each row that is not accepted. An error ends the import.
	Rejected func(file string, line int, reason *ranker.EventError) error
	// Progress is called after each batch with the number of rows so far. It may be nil.
	Progress func(done int)
}

// Run imports the files in order. The summary is never nil: with an error it says what was done
// before.
func (i *Import) Run(ctx context.Context) (*ImportSummary, error) {
	tally := newImportTally()
	loader := &Loader{Sink: i.Sink, Progress: i.Progress, Stored: tally.event}
	var err error
	for _, name := range i.Files {
		loader.Rejected = func(line int, reason *ranker.EventError) error {
			tally.reject(name, line, reason)
			return i.Rejected(name, line, reason)
		}
		if err = i.file(ctx, loader, tally, name); err != nil {
			break
		}
	}
	summary, summaryErr := tally.summary(ctx, loader.Counts, i.Counted, i.Catalogue)
	if err != nil || summaryErr != nil {
		return summary, errors.Join(err, summaryErr)
	}
	if summary.Accepted+summary.Duplicates == 0 {
		return summary, errNothingAccepted
	}
	return summary, nil
}

var errNothingAccepted = errors.New("no event was accepted")

// file imports one file.
func (i *Import) file(
	ctx context.Context, loader *Loader, tally *importTally, name string,
) error {
	reader := importfile.Open(name, i.Options)
	if name == "-" {
		reader = importfile.NewReader("standard input", i.In, i.Options)
	}
	defer func() { tally.file(name, reader.Description()) }()
	for row := range reader.Rows() {
		var err error
		if row.Err != nil {
			err = loader.reject(row.Line, row.Err)
		} else {
			err = loader.Add(ctx, row.Line, row.Event)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(reader.Err(), loader.Flush(ctx))
}

// AdviseServer adds to the error that a process uses the data folder how to import beside it.
func AdviseServer(err error) error {
	if errors.Is(err, ingest.ErrLocked) {
		return fmt.Errorf("%w. If that process is relish serve, send it the events: pass --server "+
			"http://127.0.0.1:8080 instead of --data", err)
	}
	return err
}
