package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
	"unicode/utf8"

	"relish/features/importfile"
	"relish/internal/app"
	"relish/internal/config"
	"relish/internal/plural"
	"relish/ranker"
)

type importCmd struct {
	storeFlags   `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	tableFlags   `group:"Files:"`
	Server       string   `help:"Send the events to the service at this address instead of writing to --data." placeholder:"URL"`
	KeyFile      string   `help:"File with the API key for --server. The key needs the scopes feedback and items." type:"path" placeholder:"FILE"`
	Name         string   `help:"With --format arrow: name of the table. relish.yaml names its columns NAME.COLUMN." placeholder:"NAME"`
	Strict       bool     `help:"Stop at the first rejected row, with exit status 1."`
	NoEmbed      bool     `help:"Leave the item texts to relish serve or relish embed."`
	JSON         bool     `help:"Print the summary as JSON."`
	Files        []string `arg:"" name:"file" help:"Files to read in order, CSV and JSON plain, gzip or zstd; - is standard input."`
}

// tableFlags say how files are read.
type tableFlags struct {
	Format        string            `help:"auto, csv, json, parquet, native or metarank events as JSON, or arrow: feature columns." enum:"auto,csv,json,parquet,native,metarank,arrow" default:"auto" placeholder:"FORMAT"`
	Kind          *string           `help:"The files are tables of events, items or users (default: events for CSV and Parquet)." enum:"events,items,users" placeholder:"KIND"`
	Columns       map[string]string `help:"Columns of the file for user, item, action, time, id, session, value, impression, title, text, tags or a field." mapsep:"," placeholder:"NAME=COLUMN,..."`
	Action        string            `help:"Action of rows without one." placeholder:"NAME"`
	Actions       map[string]string `help:"Rename actions of the file, such as buy=purchase." mapsep:"," placeholder:"THEIRS=OURS,..."`
	Types         map[string]string `help:"Types of fields of items and users: number, bool, text or list. By default the first rows tell." mapsep:"," placeholder:"FIELD=TYPE,..."`
	Separator     string            `help:"Character between the columns of CSV, or tab (default: what the header row has)." placeholder:"CHAR"`
	ListSeparator string            `help:"Text between the values of a list in one cell." default:"|" placeholder:"TEXT"`
	TimeUnit      string            `help:"Unit of times that are numbers: s, ms, us or ns; auto detects it for each file." enum:"auto,s,ms,us,ns" default:"auto" placeholder:"UNIT"`
	Source        string            `help:"Put NAME: before the ids that the files give to events, so that they cannot clash with those of other sources." placeholder:"NAME"`
}

// options returns how files are read.
func (f *tableFlags) options() (opt importfile.Options, err error) {
	opt = importfile.Options{
		Columns: f.Columns, Action: f.Action, Actions: f.Actions, Types: f.Types,
		ListSeparator: f.ListSeparator, Source: f.Source, Moment: time.Now().UnixMilli(),
		Metarank: f.Format == "metarank",
	}
	switch f.Format {
	case "auto":
	case "native", "metarank":
		opt.Format = importfile.JSON
	default:
		opt.Format = importfile.Format(f.Format)
	}
	kind := ""
	if f.Kind != nil {
		kind = *f.Kind
	}
	switch kind {
	case "events":
		opt.Kind = ranker.EventInteraction
	case "items":
		opt.Kind = ranker.EventItem
	case "users":
		opt.Kind = ranker.EventUser
	}
	if opt.TimeUnit, err = importfile.ParseTimeUnit(f.TimeUnit); err != nil {
		return opt, app.Usagef("--time-unit %w", err)
	}
	switch separator, size := utf8.DecodeRuneInString(f.Separator); {
	case f.Separator == "tab" || f.Separator == `\t`:
		opt.Separator = '\t'
	case f.Separator != "" && (size != len(f.Separator) || separator == '"' || separator == '\n'):
		return opt, app.Usagef("--separator %q must be one character, such as ;, or tab",
			f.Separator)
	case f.Separator != "":
		opt.Separator = separator
	}
	return opt, nil
}

// Run imports the files.
func (c *importCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	switch {
	case c.Format == "arrow" && c.Server != "":
		return app.Usagef("--format arrow and --server do not go together; a service on the same " +
			"data folder takes the table from there")
	case c.Format == "arrow":
		return c.importColumns(ctx, cfg)
	}
	opt, err := c.tableFlags.options()
	if err == nil {
		err = c.checkFiles()
	}
	if err != nil {
		return err
	}
	opt.OpenParquet = app.OpenParquet(ctx)
	if c.Server != "" {
		return c.importToServer(ctx, opt)
	}
	if err := c.announce(); err != nil {
		return err
	}
	c.NoText = c.NoText || c.NoEmbed
	e, err := app.OpenEngine(ctx, engineOptions(&c.storeFlags, &c.encoderFlags, &c.logFlags, cfg))
	if err != nil {
		return app.AdviseServer(err)
	}
	defer func() { err = errors.Join(err, e.Close(ctx), c.orderHistory(ctx, cfg)) }()
	summary, err := c.load(ctx, app.Import{
		Sink: e.Store, Catalogue: e.Store, Options: opt, Counted: cfg.State.Actions,
	})
	if err == nil {
		err = app.FlushStore(ctx, e.Store)
	}
	if err == nil {
		summary.Encoded, err = encodeAll(ctx, e, app.BundleFolder(c.Bundles, c.Data))
	}
	if err != nil && summary.Total() == 0 {
		return err // the error says all
	}
	return errors.Join(c.print(summary), err)
}

// checkFiles returns an error if a file does not exist, before anything is created or read.
func (c *importCmd) checkFiles() error {
	for _, name := range c.Files {
		if _, err := os.Stat(name); name != "-" && errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no file %s", name)
		}
	}
	return nil
}

// importToServer sends the events to a running service.
func (c *importCmd) importToServer(ctx context.Context, opt importfile.Options) (err error) {
	server := app.Server{URL: c.Server, Retrying: func(reason error, wait time.Duration) {
		fmt.Fprintf(os.Stderr, "%v; the events are sent again in %s\n", reason, wait)
	}}
	if err := server.Check(); err != nil {
		return app.Usagef("--server %w", err)
	}
	if c.KeyFile != "" {
		if server.Key, err = app.ReadKeyFile(c.KeyFile); err != nil {
			return fmt.Errorf("--key-file: %w", err)
		}
	}
	// Temporary files are the only ones of this command.
	if c.Data, err = os.MkdirTemp("", "relish-import-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.Data)) }()
	summary, err := c.load(ctx, app.Import{Sink: &server, Options: opt})
	if err != nil && summary.Total() == 0 {
		return err // the error says all
	}
	return errors.Join(c.print(summary), err)
}

// orderHistory lets the server begin with the state that the events give in the order in which they
// happened. With Redis the state is shared, and stays as it is.
func (c *importCmd) orderHistory(ctx context.Context, cfg *config.Config) error {
	if c.Redis != "" {
		return nil
	}
	p := newProgress("order by time")
	defer p.end()
	history := app.History{Data: c.Data, State: cfg.State, Progress: p.count}
	history.State.Text = cfg.Text
	changed, err := history.Order(ctx)
	if changed {
		fmt.Fprintln(os.Stderr, "the state was computed again, because events were imported after "+
			"later ones")
	}
	return err
}

// load reads the files.
func (c *importCmd) load(ctx context.Context, i app.Import) (*app.ImportSummary, error) {
	var p stageProgress
	defer p.end()
	rejected := 0
	i.Data, i.Files, i.In, i.Progress = c.Data, c.Files, os.Stdin, p.set
	i.Rejected = func(file string, line int, reason *ranker.EventError) error {
		rejected++
		return c.reject(fmt.Errorf("%s:%d: %w", file, line, reason), rejected)
	}
	return i.Run(ctx)
}

// maxRejectLines bounds the messages of one import about rejected rows; all are counted.
const maxRejectLines = 20

// reject reports the nth rejected row. With --strict it returns the error, which ends the import.
func (c *importCmd) reject(err error, n int) error {
	if c.Strict {
		return err
	}
	if n <= maxRejectLines {
		fmt.Fprintln(os.Stderr, printable(err.Error()))
	}
	if n == maxRejectLines {
		fmt.Fprintln(os.Stderr, "further rejected rows are counted but not shown; --strict "+
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
	fmt.Printf("table %s: %s, digest %s\n", result.Table, plural.Count(int(result.Rows), "row"),
		result.Digest)
	return nil
}
