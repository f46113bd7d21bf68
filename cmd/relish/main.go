// Command relish is the ranking service and its tools in one binary.
//
// Each file holds one subcommand. It parses flags, calls internal/app, and prints the result.
// Results go to standard output; progress, warnings and errors go to standard error.
// The exit status is 0 when the work is done, 1 when it failed, and 2 for a usage error.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"relish/internal/app"
	"relish/internal/config"
)

// cli is the whole command line. Every flag is also an environment variable RELISH_<FLAG> and a
// key of relish.yaml.
type cli struct {
	Config  string           `help:"Configuration file, see docs/operations.md. Any flag can be set in it by its name." type:"path" placeholder:"FILE"`
	Version kong.VersionFlag `help:"Print the version."`

	Serve       serveCmd      `cmd:"" help:"Run the ranking service."`
	Demo        demoCmd       `cmd:"" help:"Fill a data folder with a sample catalogue and simulated users."`
	Import      importCmd     `cmd:"" help:"Import events or feature columns from files."`
	Ingest      ingestCmd     `cmd:"" help:"Consume events from a Redis stream."`
	Train       trainCmd      `cmd:"" help:"Train a bundle, and activate it unless it ranks worse."`
	Evaluate    evaluateCmd   `cmd:"" help:"Measure ranking quality on the newest part of the event log."`
	Experiment  experimentCmd `cmd:"" help:"Validate, analyse, promote and simulate A/B experiments."`
	Embed       embedCmd      `cmd:"" help:"Encode the item texts that have no vector yet."`
	Encoder     encoderCmd    `cmd:"" help:"Download text encoders."`
	Classifier  classifierCmd `cmd:"" help:"Train and measure classifiers that label texts."`
	Snapshot    snapshotCmd   `cmd:"" help:"Export users, items, counters and histories as Arrow files."`
	Rebuild     rebuildCmd    `cmd:"" help:"Rebuild the feature state from event logs or a snapshot."`
	Bench       benchCmd      `cmd:"" help:"Measure the latency of rankings under load."`
	Doctor      doctorCmd     `cmd:"" help:"Check the assets, the data folder or a running service."`
	ShowVersion versionCmd    `cmd:"" name:"version" help:"Print the version."`

	ConvertColumns convertColumnsCmd `cmd:"" hidden:"" name:"convert-table"`
	ReadParquet    readParquetCmd    `cmd:"" hidden:"" name:"read-parquet"`
	VerifyBundle   probeBundleCmd    `cmd:"" hidden:"" name:"probe-bundle"`
	ProbeEncoder   probeEncoderCmd   `cmd:"" hidden:"" name:"probe-encoder"`

	ProbeClassifier probeClassifierCmd `cmd:"" hidden:"" name:"probe-classifier"`
}

const description = "Relish ranks candidates for a user by the user's behaviour and by the " +
	"candidates' texts.\n\n" +
	"Every flag can also be set as RELISH_<FLAG> in the environment, or by its name in the " +
	"--config file."

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends the work gently. It also restores the default, so that a second signal
	// ends the process at once.
	context.AfterFunc(ctx, stop)

	var c cli
	parser, err := newParser(&c)
	if err != nil {
		return fail(err)
	}
	if len(args) == 0 {
		return printHelp(parser)
	}
	if args[0] == "help" {
		args = append(args[1:], "--help")
	}
	cfg, err := config.Load(configPath(args), flagNames(parser.Model.Node))
	if err != nil {
		return fail(app.UsageError{Err: err})
	}
	if err := kong.Resolvers(cfg.Resolver()).Apply(parser); err != nil {
		return fail(err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fail(app.UsageError{Err: fmt.Errorf("%w; for help, run %s", plainParseError(err),
			helpCommand(err))})
	}
	if err := checkRanges(command); err != nil {
		return fail(app.UsageError{Err: err})
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.Bind(cfg)
	err = command.Run()
	if err != nil && ctx.Err() != nil {
		err = stopped(command.Selected().Name, err)
	}
	return fail(err)
}

// printHelp prints the help of relish to standard error, because a command is missing.
func printHelp(parser *kong.Kong) int {
	parser.Stdout = os.Stderr
	trace, err := kong.Trace(parser, nil)
	if err == nil {
		err = trace.PrintUsage(false)
	}
	if err != nil {
		return fail(err)
	}
	return exitUsage
}

// stopped says what a command had done when a signal stopped it.
func stopped(command string, err error) error {
	written := "nothing was written"
	switch command {
	case "import", "demo", "ingest", "embed":
		written = "what was finished is kept; run the same command again to go on"
	case "serve":
		written = "events that were accepted are kept"
	case "rebuild":
		written = "run the same command again"
	case "pull":
		written = "the encoder is not complete; run the same command again"
	}
	if !errors.Is(err, context.Canceled) {
		written += fmt.Sprintf(" (%v)", err)
	}
	return errors.New("stopped by a signal; " + written)
}

// fail prints an error, if there is one, and returns the exit status.
func fail(err error) int {
	if err == nil {
		return exitDone
	}
	// Programs that start relish as a child process read this prefix, see internal/sandbox.
	fmt.Fprintln(os.Stderr, "relish:", printable(err.Error()))
	if errors.As(err, new(app.UsageError)) {
		return exitUsage
	}
	return exitFailed
}

// newParser builds the command line parser.
func newParser(c *cli) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("relish"),
		kong.Description(description),
		kong.DefaultEnvars("RELISH"),
		kong.Vars{
			"version":            versionLine(),
			"redis_read_timeout": app.DefaultRedisReadTimeout.String(),
		},
		kong.ConfigureHelp(kong.HelpOptions{
			Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100,
		}),
		kong.ValueFormatter(helpText),
	)
}

// helpText is a flag's help with its default. The environment variables are left out: the
// description gives the rule that names them all.
func helpText(v *kong.Value) string {
	switch {
	case !v.HasDefault || v.Default == "" || strings.Contains(v.Help, "(default"):
		return v.Help
	default:
		return fmt.Sprintf("%s (default: %s).", strings.TrimSuffix(v.Help, "."), v.Default)
	}
}

// helpCommand names the help that would have prevented a parse error.
func helpCommand(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		return "relish " + parse.Context.Selected().Path() + " --help"
	}
	return "relish --help"
}

// configPath finds --config before the command line is parsed, because the file's values take part
// in the parsing.
func configPath(args []string) string {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if arg == "--config" && i+1 < len(args) {
			return args[i+1]
		}
		if path, ok := strings.CutPrefix(arg, "--config="); ok {
			return path
		}
	}
	return os.Getenv("RELISH_CONFIG")
}

// flagNames returns the names of the flags of a command and its subcommands: the keys that a
// configuration file may use.
func flagNames(node *kong.Node) []string {
	var names []string
	for _, flag := range node.Flags {
		names = append(names, flag.Name)
	}
	for _, child := range node.Children {
		names = append(names, flagNames(child)...)
	}
	return names
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run() error {
	_, err := fmt.Println(versionLine())
	return err
}

// versionLine is what relish version prints, such as "relish 0.1.0 (commit 1a2b3c4d5e6f)".
func versionLine() string {
	line := "relish " + app.Version
	if commit := app.Commit(); commit != "" {
		line += " (commit " + commit + ")"
	}
	return line
}
