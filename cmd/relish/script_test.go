package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/testscript"

	"relish/internal/demo"
)

// TestScripts runs the transcripts in testdata/script. Besides the commands of testscript they use:
//
//	relish ARGS...        run relish; "! relish" wants exit status 1, "usage relish" wants 2
//	demo-events FILE N    write the demo's catalogue and N ranking lists of 40 users as NDJSON
//	serve ARGS...         start relish serve on a free port, as $URL, and end the one before
//	shutdown              end the service by SIGTERM; its exit status must be 0
//	post PATH JSON        send a request; its answer is the standard output
//	get PATH
//	delete PATH
//	await PATH REGEXP     get until the answer matches
//	order ID...           the items of the last answer begin with these, best first
//	remember NAME         keep the items and scores of the last answer
//	[!] same NAME         the last answer gives the kept items the kept scores, in any order
//	lacks TEXT DIR        no file in the folder contains the text
//	let NAME REGEXP       set $NAME to the first group of the match in the standard output
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv(testMainVariable, "1")
			env.Setenv("RELISH_ASSETS", assets(t))
			env.Setenv("COLUMNS", "100")
			script := &scriptState{kept: map[string][]rankedItem{}}
			env.Values[scriptKey{}] = script
			env.Defer(script.kill)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"relish":      runRelish,
			"usage":       runUsage,
			"demo-events": writeDemoEvents,
			"serve":       startService,
			"shutdown":    shutDown,
			"post":        sendRequest(http.MethodPost),
			"get":         sendRequest(http.MethodGet),
			"delete":      sendRequest(http.MethodDelete),
			"await":       awaitAnswer,
			"order":       checkOrder,
			"remember":    rememberAnswer,
			"same":        compareAnswer,
			"lacks":       checkAbsent,
			"let":         setVariable,
		},
	})
}

// scriptState is what the commands of one script share.
type scriptState struct {
	service *service
	items   []rankedItem            // of the last answer
	kept    map[string][]rankedItem // by name
}

type scriptKey struct{}

// rankedItem is an item of an answer of /recommend.
type rankedItem struct {
	ID    string  `json:"id"`
	Score float64 `json:"score"`
}

func state(ts *testscript.TestScript) *scriptState {
	return ts.Value(scriptKey{}).(*scriptState)
}

func (s *scriptState) kill() {
	if s.service != nil {
		_ = s.service.cmd.Process.Kill()
		_ = s.service.cmd.Wait()
	}
}

func (s *scriptState) shutdown() error {
	if s.service == nil {
		return errors.New("no service runs")
	}
	cmd := s.service.cmd
	s.service = nil
	return errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
}

// runStatus runs relish and checks its exit status.
func runStatus(ts *testscript.TestScript, want int, args []string) {
	status := 0
	if err := ts.Exec("relish", args...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("relish: %v", err)
		}
		status = exit.ExitCode()
	}
	if status != want {
		ts.Fatalf("exit status %d, want %d", status, want)
	}
}

func runRelish(ts *testscript.TestScript, neg bool, args []string) {
	want := exitDone
	if neg {
		want = exitFailed
	}
	runStatus(ts, want, args)
}

func runUsage(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 0 || args[0] != "relish" {
		ts.Fatalf("usage: usage relish ARGS...")
	}
	runStatus(ts, exitUsage, args[1:])
}

func writeDemoEvents(ts *testscript.TestScript, _ bool, args []string) {
	needArgs(ts, args, 2)
	lists, err := strconv.Atoi(args[1])
	ts.Check(err)
	events := slices.Collect(demo.New(demo.Options{Seed: 1, Users: 40, Lists: lists}).Events())
	text, err := formatEvents(events)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

func startService(ts *testscript.TestScript, _ bool, args []string) {
	s := state(ts)
	if s.service != nil {
		ts.Check(s.shutdown())
	}
	cmd := exec.Command(os.Args[0], append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), testMainVariable+"=1",
		"RELISH_ASSETS="+ts.Getenv("RELISH_ASSETS"))
	service, err := start(cmd)
	ts.Check(err)
	s.service = service
	ts.Setenv("URL", service.url)
}

func shutDown(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(state(ts).shutdown())
}

// sendRequest returns a command that sends a request. Its status must be 2xx.
func sendRequest(method string) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		s := state(ts)
		if s.service == nil || len(args) == 0 {
			ts.Fatalf("%s needs a path and a service that runs", method)
		}
		body := ""
		if len(args) > 1 {
			body = args[1]
		}
		status, answer, err := s.service.request(method, args[0], body)
		ts.Check(err)
		_, err = ts.Stdout().Write(append(answer, '\n'))
		ts.Check(err)
		if status/100 != 2 {
			ts.Fatalf("%s %s answers %d: %s", method, args[0], status, answer)
		}
		var ranking struct {
			Items []rankedItem `json:"items"`
		}
		if json.Unmarshal(answer, &ranking) == nil && ranking.Items != nil {
			s.items = ranking.Items
		}
	}
}

func awaitAnswer(ts *testscript.TestScript, _ bool, args []string) {
	needArgs(ts, args, 2)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		_, answer, err := state(ts).service.request(http.MethodGet, args[0], "")
		ts.Check(err)
		if pattern.Match(answer) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s does not match %s within %s: %s", args[0], args[1], patience, answer)
		}
	}
}

func checkOrder(ts *testscript.TestScript, _ bool, args []string) {
	items := state(ts).items
	for i, id := range args {
		if i >= len(items) || items[i].ID != id {
			ts.Fatalf("the order is %v, want %v first", items, args)
		}
	}
}

func rememberAnswer(ts *testscript.TestScript, _ bool, args []string) {
	needArgs(ts, args, 1)
	state(ts).kept[args[0]] = state(ts).items
}

// scoreTolerance allows for the decay of counters between two answers.
const scoreTolerance = 1e-3

func compareAnswer(ts *testscript.TestScript, neg bool, args []string) {
	needArgs(ts, args, 1)
	kept, ok := state(ts).kept[args[0]]
	if !ok {
		ts.Fatalf("no answer is remembered as %s", args[0])
	}
	diff := cmp.Diff(scoresByID(kept), scoresByID(state(ts).items),
		cmpopts.EquateApprox(0, scoreTolerance))
	if neg && diff == "" {
		ts.Fatalf("the answer is that of %s: %v", args[0], kept)
	}
	if !neg && diff != "" {
		ts.Fatalf("the answer differs from that of %s:\n%s", args[0], diff)
	}
}

// scoresByID forgets the order of items. Ties are broken by chance, so equal scores can change
// places.
func scoresByID(items []rankedItem) map[string]float64 {
	scores := map[string]float64{}
	for _, item := range items {
		scores[item.ID] = item.Score
	}
	return scores
}

func checkAbsent(ts *testscript.TestScript, _ bool, args []string) {
	needArgs(ts, args, 2)
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[1]), "*"))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("%s is empty", args[1])
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		ts.Check(err)
		if bytes.Contains(data, []byte(args[0])) {
			ts.Fatalf("%s contains %q", file, args[0])
		}
	}
}

func setVariable(ts *testscript.TestScript, _ bool, args []string) {
	needArgs(ts, args, 2)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	match := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(match) < 2 {
		ts.Fatalf("%s does not match the standard output", args[1])
	}
	ts.Setenv(args[0], match[1])
}

func needArgs(ts *testscript.TestScript, args []string, n int) {
	if len(args) != n {
		ts.Fatalf("%d arguments, want %d: %q", len(args), n, args)
	}
}
