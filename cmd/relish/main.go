// Command relish is the ranking service and its tools: one binary, one small file per subcommand.
// The files here only wire packages together; what they do lives in those packages.
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

	"relish/internal/config"
)

// version is set at build time from the repository's revision.
var version = "dev"

// cli is the whole command line. Every flag is also RELISH_<FLAG> and a key of relish.yaml.
type cli struct {
	Config string `help:"File with sections state, rules, text, keys, tables, and any flag by its name." type:"path" placeholder:"FILE"`

	Serve      serveCmd      `cmd:"" help:"Run the ranking service."`
	Import     importCmd     `cmd:"" help:"Read events from files into the data folder."`
	Ingest     ingestCmd     `cmd:"" help:"Take in events from a Redis stream."`
	Demo       demoCmd       `cmd:"" help:"Fill a data folder with the built-in catalogue and simulated users."`
	Evaluate   evaluateCmd   `cmd:"" help:"Measure ranking quality on the newest part of the log."`
	Snapshot   snapshotCmd   `cmd:"" help:"Write users, items, counters and histories as Arrow files."`
	Rebuild    rebuildCmd    `cmd:"" help:"Make the state anew from the event logs or from a snapshot."`
	Experiment experimentCmd `cmd:"" help:"Check experiments."`
	Embed      embedCmd      `cmd:"" help:"Encode the texts of all items that have no vector yet."`
	Encoder    encoderCmd    `cmd:"" help:"Fetch text encoders."`
	Bench      benchCmd      `cmd:"" help:"Measure latency under an open-loop load."`
	Doctor     doctorCmd     `cmd:"" help:"Check assets and a data folder and say what is wrong."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Convert    convertCmd    `cmd:"" hidden:"" name:"convert-table"`
	Probe      probeCmd      `cmd:"" hidden:"" name:"probe-bundle"`
}

// errUsage marks errors that are the caller's: exit status 2.
var errUsage = errors.New("usage")

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the default is restored, so that a second one ends the process at once.
	context.AfterFunc(ctx, stop)

	var c cli
	parser, err := kong.New(&c, kong.Name("relish"), kong.DefaultEnvars("RELISH"), kong.UsageOnError(),
		kong.Description("Relish ranks a user's candidates by behaviour and by what their texts say."),
		kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, "relish:", err)
		return 1
	}
	file, err := config.Load(configPath(args), flagNames(parser.Model.Node))
	if err != nil {
		fmt.Fprintln(os.Stderr, "relish:", err)
		return 2
	}
	if err := kong.Resolvers(file.Resolver()).Apply(parser); err != nil {
		fmt.Fprintln(os.Stderr, "relish:", err)
		return 1
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "relish: %v\nTry 'relish --help'.\n", err)
		return 2
	}
	kctx.Bind(file)
	if err := kctx.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "relish:", err)
		if errors.Is(err, errUsage) {
			return 2
		}
		return 1
	}
	return 0
}

// configPath finds --config before the parse, since the file's values take part in it.
func configPath(args []string) string {
	for i, a := range args {
		if a == "--config" && i+1 < len(args) {
			return args[i+1]
		}
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			return v
		}
		if a == "--" {
			break
		}
	}
	return os.Getenv("RELISH_CONFIG")
}

func flagNames(n *kong.Node) []string {
	var names []string
	for _, f := range n.Flags {
		names = append(names, f.Name)
	}
	for _, child := range n.Children {
		names = append(names, flagNames(child)...)
	}
	return names
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run() error {
	fmt.Println("relish", version)
	return nil
}
