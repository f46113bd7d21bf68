package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"relish/features/event"
	"relish/features/eventsort"
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

// Import brings the events of files into a sink, in the order in which they happened
// (event.OrderOf): the order of the files and of their rows does not matter. It sorts all events
// first, beyond memory in temporary files, and marks them as imported. Sink, Data, Files and
// Rejected are required.
type Import struct {
	Sink    EventSink
	Data    string    // the data folder, which takes temporary files
	Files   []string  // names of files; "-" is In
	In      io.Reader // standard input
	Options importfile.Options
	Counted []string // actions that the configuration counts; nil: not known
	// Catalogue has the described items when the files are read; nil: they are not known.
	Catalogue Store
	// Rejected is called for each row that is not accepted. An error ends the import.
	Rejected func(file string, line int, reason *ranker.EventError) error
	// Progress is called with what is done ("read", "import"), the number of rows done, and how
	// many there are, 0 while that is unknown. It may be nil.
	Progress func(stage string, done, total int)
}

const (
	// importFolder is the folder of temporary files in the data folder.
	importFolder = "import.tmp"
	// lineBits is the number of bits of a row's number that hold its line. The others hold the
	// number of its file.
	lineBits = 40
	// readInterval is the number of rows between two reports of progress.
	readInterval = 5000
)

// Run imports the files. The summary is never nil: with an error it says what was done before.
func (i *Import) Run(ctx context.Context) (*ImportSummary, error) {
	tally := newImportTally()
	loader := &Loader{Sink: i.Sink, Stored: tally.event}
	loader.Rejected = func(number int, reason *ranker.EventError) error {
		file, line := i.Files[number>>lineBits], number&(1<<lineBits-1)
		if reason.Code == "id_conflict" {
			reason = errConflict
		}
		tally.reject(file, line, reason)
		return i.Rejected(file, line, reason)
	}
	err := i.sortAndLoad(ctx, loader, tally)
	summary, summaryErr := tally.summary(ctx, loader.Counts, i.Counted, i.Catalogue)
	if err != nil || summaryErr != nil {
		return summary, errors.Join(err, summaryErr)
	}
	if summary.Accepted+summary.Duplicates == 0 {
		return summary, errNothingAccepted
	}
	return summary, nil
}

// errConflict says of an event with the id of another event what an importer can do.
var errConflict = &ranker.EventError{
	Code: "id_conflict", Pointer: "/id",
	Message: "is the id of another event, of this import or of an earlier one: ids must be " +
		"different. Pass --source NAME for the ids of another system, or --columns id= to have " +
		"the rows of a table get other ids",
}

var errNothingAccepted = errors.New("no event was accepted")

func (i *Import) sortAndLoad(ctx context.Context, loader *Loader, tally *importTally) (err error) {
	dir := filepath.Join(i.Data, importFolder)
	if err := eventsort.RemoveLeftovers(dir); err != nil {
		return err
	}
	sorter := eventsort.New(dir)
	defer func() { err = errors.Join(err, sorter.Close()) }()
	for file := range i.Files {
		if err := i.read(ctx, file, sorter, loader, tally); err != nil {
			return err
		}
	}
	rejected := loader.Counts.Rejected // of the rows that were read
	loader.Progress = func(done int) { i.progress("import", done-rejected, sorter.Len()) }
	for rec, err := range sorter.Records() {
		if err == nil {
			err = loader.Add(ctx, int(rec.Seq), rec.Event)
		}
		if err != nil {
			return err
		}
	}
	return loader.Flush(ctx)
}

func (i *Import) progress(stage string, done, total int) {
	if i.Progress != nil {
		i.Progress(stage, done, total)
	}
}

// read adds the events of one file to the sorter.
func (i *Import) read(
	ctx context.Context, file int, sorter *eventsort.Sorter, loader *Loader, tally *importTally,
) error {
	ctx, cancel := context.WithCancel(ctx) // ends the reading, also after an error
	defer cancel()
	name := i.Files[file]
	reader := i.open(ctx, name)
	defer func() { tally.file(name, reader.Description()) }()
	rows := 0
	for row := range reader.Rows() {
		number := file<<lineBits | row.Line
		err := addRow(sorter, number, &row)
		if reason := (*ranker.EventError)(nil); errors.As(err, &reason) {
			err = loader.reject(number, reason)
		}
		if err != nil {
			return err
		}
		if rows++; rows%readInterval == 0 {
			if i.progress("read", sorter.Len(), 0); ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return reader.Err()
}

// addRow adds the event of a row. It returns an *EventError for a row that must be rejected.
func addRow(sorter *eventsort.Sorter, number int, row *importfile.Row) error {
	if row.Err != nil {
		return row.Err
	}
	row.Event.Imported = true
	// The events arrive later than any of them happened.
	err := sorter.Add(&event.Record{
		Seq: uint64(number), Arrival: math.MaxInt64, Event: row.Event,
	})
	if errors.Is(err, eventsort.ErrEncoding) {
		return &ranker.EventError{Code: "malformed", Message: err.Error()}
	}
	return err
}

// AdviseServer adds to the error that a process uses the data folder how to import beside it.
func AdviseServer(err error) error {
	locked := new(ingest.LockedError)
	if !errors.As(err, &locked) {
		return err
	}
	server, _, readErr := readServing(locked.Dir)
	if readErr == nil && server != nil && server.Address != "" {
		return fmt.Errorf("%w. It is relish serve; send it the events: pass --server %s instead "+
			"of --data", err, server.Address)
	}
	return fmt.Errorf("%w. If that process is relish serve, send it the events: pass --server "+
		"http://127.0.0.1:8080 instead of --data", err)
}
