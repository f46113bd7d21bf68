package bundle_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/internal/stats"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

// The test binary is also the child process that tries bundles, and the one that is killed while it
// writes one.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv("BUNDLE_TEST_CHILD") {
	case "":
		goleak.VerifyTestMain(m)
		return
	case "probe":
		err = probeChild(os.Args[1:])
	case "write":
		err = writeUntil(os.Args[1], os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "relish:", err)
		os.Exit(1)
	}
}

// shortCPU as an argument makes the child limit its processor time to a second. The other children
// have an hour, so that no test depends on the speed of the machine.
const shortCPU = "short-cpu"

func probeChild(args []string) error {
	limits := bundle.ProbeLimits{Memory: 2 << 30, CPU: time.Hour}
	if args[0] == shortCPU {
		limits.CPU = time.Second
	}
	return bundle.ProbeChild(context.Background(), args[len(args)-1], hostile, limits, nil)
}

// writeUntil writes a bundle and kills its process before the step of that number.
func writeUntil(root, number string) error {
	stepsLeft, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	m, files := parts(1)
	_, err = bundle.WriteInterruptible(root, m, files, func(string) error {
		if stepsLeft--; stepsLeft == 0 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	})
	return err
}

var sink [][]byte

// hostile loads the real signals, and some that harm the process that loads them.
func hostile(kind string, file []byte) (ranker.Signal, error) {
	switch kind {
	case "memory":
		for {
			sink = append(sink, make([]byte, 512<<20))
		}
	case "processor":
		for i := 0; ; i++ {
			sink = append(sink[:0], []byte{byte(i)})
		}
	case "exit":
		os.Exit(0)
	case "crash":
		panic("a damaged file")
	case "crash later":
		return crasher{}, nil
	}
	return new(signals.Loader).Load(kind, file)
}

// crasher is a signal that writes beyond its block.
type crasher struct{}

func (crasher) Columns() []string { return []string{"x"} }

func (crasher) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	out[len(in.ItemVectors)+1] = 1
	return nil
}

// candidates is the number of candidates. They are sorted by the column that the bundles weigh.
const candidates = 5

// schema returns the prior's schema with one external column.
func schema() *ranker.Schema {
	s, err := scorer.PriorSchema(nil, []scorer.ColumnWeight{{Column: "t.x"}})
	if err != nil {
		panic(err)
	}
	return s
}

// columns returns the feature cells of n candidates. All but the external column are missing.
func columns(s *ranker.Schema, n int) []float32 {
	out := make([]float32, n*len(s.Columns()))
	for i := range out {
		out[i] = float32(math.NaN())
		if s.Columns()[i%len(s.Columns())].Name == "table.t.x" {
			out[i] = 1 / float32(1+i/len(s.Columns()))
		}
	}
	return out
}

// input returns the input of one ranking of the candidates.
func input() *ranker.SignalInput {
	in := &ranker.SignalInput{
		Request: &ranker.Request{
			User:    "u",
			Context: map[string]ranker.FieldValue{"n": ranker.NumberValue(0.1)},
		},
		State:       &ranker.RequestState{Columns: columns(schema(), candidates)},
		Now:         1_800_000_000_000,
		Query:       ranker.NewItemInfo(ranker.Item{Title: "bread"}, ranker.TextSpec{"title"}),
		QueryVector: []float32{1, 0},
	}
	for i := range candidates {
		item := ranker.NewItemInfo(ranker.Item{
			ID:    fmt.Sprint("i", i),
			Title: fmt.Sprint("bread ", i),
			Tags:  []string{"a"},
		}, ranker.DefaultTextSpec)
		in.Request.Candidates = append(in.Request.Candidates,
			ranker.Candidate{ID: item.ID, Score: float32(i), HasScore: i%2 == 0, ColdStart: i == 3})
		in.State.Items = append(in.State.Items, item)
		in.ItemVectors = append(in.ItemVectors, []float32{0.6, 0.8})
		in.State.Counts = append(in.State.Counts,
			ranker.ItemCounts{Shown: float64(3 + i), Actions: float64(i)})
	}
	in.State.Items[1], in.ItemVectors[1] = nil, nil
	in.State.Recent = []ranker.Interaction{
		{Item: "i9", Action: "click", Time: 5, Value: 1},
		{Item: "gone"},
	}
	in.State.RecentItems = []*ranker.ItemInfo{
		ranker.NewItemInfo(ranker.Item{ID: "i9", Title: "rye bread"}, ranker.DefaultTextSpec),
		nil,
	}
	in.RecentVectors = [][]float32{{0, 1}, nil}
	in.State.Shown = []ranker.Shown{{Item: "i9", Time: 4, Clicked: true}}
	in.State.UserFields = map[string]ranker.FieldValue{
		"age":   ranker.NumberValue(7),
		"likes": ranker.StringsValue([]string{"a", "b"}),
	}
	return in
}

// parts returns manifest and files of a bundle that scores a candidate by weight times its column.
func parts(weight float64) (bundle.Manifest, map[string][]byte) {
	must := func(data []byte, err error) []byte {
		if err != nil {
			panic(err)
		}
		return data
	}
	s, tables := schema(), []scorer.ColumnWeight{{Column: "t.x", Weight: weight}}
	prior, err := scorer.NewPrior(s, tables)
	must(nil, err)
	model := &ranker.Model{
		Schema:  s,
		Scorer:  prior,
		Signals: []ranker.Signal{signals.TextSimilarity{}, signals.TokenOverlap{}},
	}
	c, err := bundle.RecordProbe(context.Background(), model, input())
	must(nil, err)
	files := map[string][]byte{
		bundle.SchemaFile: must(bundle.FormatSchema(s)),
		bundle.ProbeFile:  must(bundle.EncodeProbe(ranker.DefaultTextSpec, []bundle.ProbeCase{c})),
		"priors.json":     fmt.Appendf(nil, `{"tables":[{"column":"t.x","weight":%g}]}`, weight),
		bundle.ReportFile: fmt.Appendf(nil, "<title>weight %g</title>", weight),
	}
	return bundle.Manifest{
		Signals: []bundle.SignalFile{{Kind: "text"}, {Kind: "overlap"}},
		Scorer:  bundle.ScorerFile{Kind: bundle.ScorerPrior, File: "priors.json"},
		Encoder: bundle.Encoder{ID: "test", Digest: "e1"}, Revision: "abc",
		Data: bundle.TrainingData{
			Logs: []bundle.LogRange{
				{
					Replica: "r",
					First:   bundle.LogPosition{Seq: 1, Arrival: 10},
					Last:    bundle.LogPosition{Seq: 9, Arrival: 90},
				},
			},
			Holdout: 0.1,
			Counts:  map[string]int64{"items": 3},
		},
		Metrics: map[string]stats.Interval{"ndcg@10": {Mean: 0.6, Low: 0.5, High: 0.7, N: 100}},
	}, files
}

// write writes the bundle of parts(weight), after change if that is not nil.
func write(
	t testing.TB,
	root string,
	weight float64,
	change func(*bundle.Manifest, map[string][]byte),
) string {
	t.Helper()
	m, files := parts(weight)
	if change != nil {
		change(&m, files)
	}
	v, err := bundle.Write(root, m, files)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// forge replaces text in the manifest of the bundle in dir, and renames the folder to the version
// of the new manifest.
func forge(t testing.TB, dir, from, to string) string {
	t.Helper()
	path := filepath.Join(dir, bundle.ManifestFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(from)) {
		t.Fatalf("the manifest has no %q:\n%s", from, data)
	}
	data = bytes.Replace(data, []byte(from), []byte(to), 1)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	stamp, _, _ := strings.Cut(filepath.Base(dir), "-")
	renamed := filepath.Join(filepath.Dir(dir), fmt.Sprintf("%s-%.6x", stamp, sha256.Sum256(data)))
	if err := os.Rename(dir, renamed); err != nil {
		t.Fatal(err)
	}
	return renamed
}

// inProcess tries a bundle in this process.
func inProcess(ctx context.Context, dir string) error {
	b, err := bundle.Load(dir, new(signals.Loader).Load)
	if err != nil {
		return err
	}
	return b.Probe(ctx)
}

var prior = func() *ranker.Model {
	s := schema()
	b, err := scorer.NewPrior(s, nil)
	if err != nil {
		panic(err)
	}
	return &ranker.Model{Version: ranker.PriorVersion, Schema: s, Scorer: b}
}()

// logs keeps what was logged. It is safe for concurrent use.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open opens a registry over root until the test ends. change, if not nil, changes its options.
func open(t testing.TB, root string, change func(*bundle.Options)) (*bundle.Registry, *logs) {
	t.Helper()
	l := &logs{}
	opt := bundle.Options{
		Root:          root,
		Prior:         prior,
		LoadSignal:    new(signals.Loader).Load,
		Probe:         inProcess,
		EncoderDigest: "e1",
		PollInterval:  time.Hour,
		Log:           slog.New(slog.NewTextHandler(l, nil)),
	}
	if change != nil {
		change(&opt)
	}
	r, err := bundle.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r, l
}

// follow runs the registry until the test ends.
func follow(t testing.TB, r *bundle.Registry) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// underLoad calls ask in a loop from several goroutines, until stop is called or ask returns false.
func underLoad(goroutines int, ask func() (ok bool)) (stop func()) {
	ended := make(chan struct{})
	var load sync.WaitGroup
	for range goroutines {
		load.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if !ask() {
					return
				}
			}
		})
	}
	return func() {
		close(ended)
		load.Wait()
	}
}

// eventually waits until ok returns true; the test fails after two minutes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen within two minutes: %s", what)
		}
	}
}

// states returns the states of the listed versions, and the reasons.
func states(t testing.TB, r *bundle.Registry) (map[string]string, map[string]string) {
	t.Helper()
	list, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	state, reason := map[string]string{}, map[string]string{}
	for _, m := range list {
		state[m.Version], reason[m.Version] = m.State, m.Reason
	}
	return state, reason
}

// wantActive checks which model requests get, and its fallbacks.
func wantActive(t testing.TB, r *bundle.Registry, active string, fallbacks ...string) {
	t.Helper()
	m, err := r.Acquire("")
	if err == nil {
		m.Release()
	}
	if err != nil || m.Version != active {
		t.Fatalf("active is %v (%v), want %s", m, err, active)
	}
	got := r.Fallbacks(active)
	if fmt.Sprint(got) != fmt.Sprint(fallbacks) {
		t.Fatalf("the fallbacks of %s are %v, want %v", active, got, fallbacks)
	}
}

// table implements ranker.StateReader: it gives the pipeline the candidates' columns.
type table struct{}

func (table) Read(_ context.Context, q *ranker.FeatureQuery) (*ranker.RequestState, error) {
	return &ranker.RequestState{
		Columns:   columns(q.Schema, len(q.Candidates)),
		Items:     make([]*ranker.ItemInfo, len(q.Candidates)),
		ItemsRead: len(q.Candidates),
	}, nil
}

// rank ranks the candidates. It returns the version of the model that scored, and the scores by
// candidate.
func rank(models ranker.Models, model string) (string, map[string]float64, error) {
	p, err := ranker.New(ranker.Options{Features: table{}, Models: models})
	if err != nil {
		return "", nil, err
	}
	req := &ranker.Request{User: "u", Model: model, Deadline: time.Minute}
	for i := range candidates {
		req.Candidates = append(req.Candidates, ranker.Candidate{ID: fmt.Sprint("i", i)})
	}
	resp, err := p.Rank(context.Background(), req)
	if err != nil {
		return "", nil, err
	}
	if len(resp.Degraded) > 0 || len(resp.Items) != candidates {
		return "", nil, errors.New("degraded")
	}
	scores := map[string]float64{}
	for _, it := range resp.Items {
		scores[it.ID] = it.Score
	}
	return resp.Model, scores, nil
}

func mustJSON(t testing.TB, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}
