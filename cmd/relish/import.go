package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"relish/internal/app"
	"relish/internal/config"
	"relish/ranker"
)

type importCmd struct {
	storeFlags   `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	Format       string   `help:"native, metarank, csv (with a header row), or arrow: feature columns of users or items." enum:"native,metarank,csv,arrow" default:"native" placeholder:"FORMAT"`
	Name         string   `help:"With arrow: name of the table. relish.yaml names its columns NAME.COLUMN." placeholder:"NAME"`
	Strict       bool     `help:"Stop at the first rejected event, with exit status 1."`
	NoEmbed      bool     `help:"Leave the item texts to relish serve or relish embed."`
	JSON         bool     `help:"Print the counts as JSON."`
	Files        []string `arg:"" name:"file" help:"Files to read in order, plain, gzip or zstd; - is standard input."`
}

// importCounts is what import prints.
type importCounts struct {
	app.LoadCounts
	Encoded int `json:"encoded"`
}

// Run imports the files.
func (c *importCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	if c.Format == "arrow" {
		return c.importColumns(ctx, cfg)
	}
	if err := c.announce(); err != nil {
		return err
	}
	c.NoText = c.NoText || c.NoEmbed
	e, err := app.OpenEngine(ctx, engineOptions(&c.storeFlags, &c.encoderFlags, &c.logFlags, cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	var counts importCounts
	if counts.LoadCounts, err = c.load(ctx, e.Store); err != nil {
		return err
	}
	if err := app.FlushStore(ctx, e.Store); err != nil {
		return err
	}
	if counts.Encoded, err = encodeAll(ctx, e, app.BundleFolder(c.Bundles, c.Data)); err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(counts)
	} else {
		_, err = fmt.Printf("accepted %d, duplicates %d, rejected %d, texts encoded %d\n",
			counts.Accepted, counts.Duplicates, counts.Rejected, counts.Encoded)
	}
	if err == nil && counts.Rejected > 0 && counts.Accepted+counts.Duplicates == 0 {
		err = fmt.Errorf("no event was accepted%s", c.formatHint())
	}
	return err
}

// sniffBytes is how much of a file formatHint reads.
const sniffBytes = 4096

// formatHint names the format that the first line of a file looks like, if --format is another one.
func (c *importCmd) formatHint() string {
	if c.Format != "native" {
		return ""
	}
	for _, name := range c.Files {
		f, err := os.Open(name)
		if err != nil {
			continue // standard input
		}
		head := make([]byte, sniffBytes)
		n, _ := io.ReadFull(f, head)
		_ = f.Close()
		line, _, _ := strings.Cut(string(head[:n]), "\n")
		switch {
		case strings.HasPrefix(line, "{") && strings.Contains(line, `"event"`):
			return fmt.Sprintf(": %s looks like Metarank events; pass --format metarank", name)
		case !strings.HasPrefix(line, "{") && strings.ContainsAny(line, ",;"):
			return fmt.Sprintf(": %s looks like CSV; pass --format csv", name)
		}
	}
	return ""
}

// load reads the files into the store.
func (c *importCmd) load(ctx context.Context, store app.Store) (app.LoadCounts, error) {
	p := newProgress("import")
	defer p.end()
	loader := &app.Loader{Store: store, Progress: p.count}
	for _, name := range c.Files {
		loader.Rejected = func(line int, reason *ranker.EventError) error {
			return c.reject(fmt.Errorf("%s:%d: %w", name, line, reason), loader.Counts.Rejected)
		}
		if err := loadFile(ctx, loader, name, c.Format); err != nil {
			return loader.Counts, err
		}
	}
	return loader.Counts, nil
}

func loadFile(ctx context.Context, loader *app.Loader, name, format string) error {
	var in io.Reader = os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	return loader.Read(ctx, name, in, format)
}

// maxRejectLines bounds the messages of one import about rejected events; all are counted.
const maxRejectLines = 20

// reject reports the nth rejected event. With --strict it returns the error, which ends the import.
func (c *importCmd) reject(err error, n int) error {
	if c.Strict {
		return err
	}
	if n <= maxRejectLines {
		fmt.Fprintln(os.Stderr, err)
	}
	if n == maxRejectLines {
		fmt.Fprintln(os.Stderr, "further rejected events are counted but not shown; --strict "+
			"stops at the first")
	}
	return nil
}

// importColumns imports one file of feature columns.
func (c *importCmd) importColumns(ctx context.Context, cfg *config.Config) error {
	if len(c.Files) != 1 || c.Files[0] == "-" {
		return app.Usagef("--format arrow imports one file, and not from standard input; got %q",
			c.Files)
	}
	if c.Name == "" {
		return app.Usagef("--format arrow needs --name, the name of the table")
	}
	if err := c.announce(); err != nil {
		return err
	}
	columns := app.ColumnsImport{
		Store: c.storeFlags.options(), Config: cfg, Table: c.Name, File: c.Files[0],
		Log: c.logger(),
	}
	result, err := columns.Run(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(result)
	}
	fmt.Printf("table %s: %d rows, digest %s\n", result.Table, result.Rows, result.Digest)
	return nil
}
