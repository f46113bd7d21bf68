package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"relish/features/event"
	"relish/internal/config"
)

type importCmd struct {
	storeFlags
	bundleFlags
	encoderFlags
	logFlags
	Format  string   `help:"native, metarank or csv (a header row naming user,item,action,time...), where gz and zst are known by their first bytes; or arrow: one Arrow IPC file of feature columns for users or items, beside a running service too." enum:"native,metarank,csv,arrow" default:"native"`
	Name    string   `help:"With arrow: the table's name. The import takes the place of the older one; relish.yaml names its columns NAME.COLUMN." placeholder:"NAME"`
	Strict  bool     `help:"Stop at the first event that is wrong, with exit status 1."`
	NoEmbed bool     `help:"Leave the item texts unencoded; serve or embed will do it."`
	JSON    bool     `help:"Print the counts as JSON."`
	Files   []string `arg:"" name:"file" help:"Files to read in order; - is standard input."`
}

// importCounts is what import prints.
type importCounts struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
	Rejected   int `json:"rejected"`
	Encoded    int `json:"encoded"`
}

// Run imports the files.
func (c *importCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	if c.Format == "arrow" {
		return c.table(ctx, cfg)
	}
	c.NoText = c.NoText || c.NoEmbed
	log := c.logger()
	e, err := openEngine(c.storeFlags, &c.encoderFlags, cfg, storeOptions{onItem: noHook}, log)
	if err != nil {
		return err
	}
	defer e.closeTimed(&err)
	im := &importer{store: e.store, strict: c.Strict, progress: newProgress("import")}
	for _, name := range c.Files {
		if err := im.file(ctx, name, c.Format); err != nil {
			return err
		}
	}
	im.progress.end()
	if err := flushStore(ctx, e.store); err != nil {
		return err
	}
	if im.counts.Encoded, err = embedAll(ctx, e, c.root(c.Data)); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(im.counts)
	}
	fmt.Printf("accepted %d, duplicates %d, rejected %d, texts encoded %d\n",
		im.counts.Accepted, im.counts.Duplicates, im.counts.Rejected, im.counts.Encoded)
	return nil
}

// importBatch is how many events share one fsync.
const importBatch = 2000

type importer struct {
	store    store
	strict   bool
	progress *progress
	counts   importCounts
	batch    []event.Event
	lines    []int
	name     string
}

func (im *importer) file(ctx context.Context, name, format string) error {
	var in io.Reader = os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	im.name = name
	r := event.NewReader(in, format)
	for line := range r.All() {
		if line.Err != nil {
			if err := im.reject(line.Line, line.Err); err != nil {
				return err
			}
			continue
		}
		im.batch, im.lines = append(im.batch, line.Event), append(im.lines, line.Line)
		if len(im.batch) == importBatch {
			if err := im.flush(ctx); err != nil {
				return err
			}
		}
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return im.flush(ctx)
}

func (im *importer) flush(ctx context.Context) error {
	if len(im.batch) == 0 {
		return nil
	}
	outcomes, err := im.store.Append(ctx, im.batch)
	if err != nil {
		return err
	}
	for i, o := range outcomes {
		switch {
		case o.Err != nil:
			if err := im.reject(im.lines[i], o.Err); err != nil {
				return err
			}
		case o.Duplicate:
			im.counts.Duplicates++
		default:
			im.counts.Accepted++
		}
	}
	im.batch, im.lines = im.batch[:0], im.lines[:0]
	im.progress.set(im.counts.Accepted+im.counts.Duplicates+im.counts.Rejected, 0)
	return nil
}

// shownRejects bounds the messages of one import; the count goes on.
const shownRejects = 20

func (im *importer) reject(line int, why *event.EventError) error {
	im.counts.Rejected++
	if im.strict {
		return fmt.Errorf("%s:%d: %w", im.name, line, why)
	}
	if im.counts.Rejected <= shownRejects {
		fmt.Fprintf(os.Stderr, "%s:%d: %v\n", im.name, line, why)
	}
	if im.counts.Rejected == shownRejects {
		fmt.Fprintln(os.Stderr, "further messages of this kind are counted, not shown; --strict stops at the first")
	}
	return nil
}
