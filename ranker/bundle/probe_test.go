package bundle_test

import (
	"bytes"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/signals"
)

// recorded returns the case that a bundle of weight 1 has.
func recorded(t testing.TB) bundle.ProbeCase {
	t.Helper()
	_, files := parts(1)
	cases, err := bundle.DecodeProbe(files[bundle.ProbeFile])
	if err != nil {
		t.Fatal(err)
	}
	return cases[0]
}

// Decoding returns what was encoded.
func TestProbeRoundTrip(t *testing.T) {
	got, want := recorded(t), input()
	want.State.ItemsRead = candidates
	opt := cmp.Options{
		cmpopts.EquateNaNs(),
		cmpopts.EquateEmpty(),
		cmpopts.IgnoreUnexported(ranker.ItemInfo{}, ranker.SignalInput{}),
	}
	// The score of a candidate without a score is not encoded.
	for i := range want.Request.Candidates {
		if c := &want.Request.Candidates[i]; !c.HasScore {
			c.Score = 0
		}
	}
	if diff := cmp.Diff(want, &got.Input, opt); diff != "" {
		t.Error(diff)
	}
	if len(got.Scores) != candidates {
		t.Errorf("scores %v", got.Scores)
	}
}

// A probe holds the longest history that a state keeps.
func TestProbeOfTheLongestHistory(t *testing.T) {
	c := recorded(t)
	s := c.Input.State
	s.Recent = slices.Repeat(s.Recent[:1], ranker.MaxHistory)
	s.RecentItems = slices.Repeat(s.RecentItems[:1], ranker.MaxHistory)
	s.Shown = slices.Repeat(s.Shown[:1], ranker.MaxHistory)
	c.Input.RecentVectors = slices.Repeat(c.Input.RecentVectors[:1], ranker.MaxHistory)
	data, err := bundle.EncodeProbe(ranker.DefaultTextSpec, []bundle.ProbeCase{c})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.DecodeProbe(data); err != nil {
		t.Error(err)
	}
}

// RecordProbe records the beginning of a long list and does not change its input.
func TestRecord(t *testing.T) {
	root := t.TempDir()
	b, err := bundle.Load(filepath.Join(root, write(t, root, 1, nil)), new(signals.Loader).Load)
	if err != nil {
		t.Fatal(err)
	}
	in := input()
	for range bundle.MaxProbeCandidates {
		in.Request.Candidates = append(in.Request.Candidates, ranker.Candidate{ID: "more"})
		in.State.Items, in.ItemVectors = append(in.State.Items, nil), append(in.ItemVectors, nil)
	}
	in.State.Columns = columns(schema(), len(in.Request.Candidates))
	before := append([]float32(nil), in.State.Columns...)
	c, err := bundle.RecordProbe(t.Context(), b.Model, in)
	if err != nil || len(c.Scores) != bundle.MaxProbeCandidates ||
		len(c.Input.State.Items) != bundle.MaxProbeCandidates {
		t.Errorf("%d scores, %v", len(c.Scores), err)
	}
	if !cmp.Equal(before, in.State.Columns, cmpopts.EquateNaNs()) ||
		len(in.Request.Candidates) != candidates+bundle.MaxProbeCandidates {
		t.Error("the input was changed")
	}
	if _, err := bundle.EncodeProbe(ranker.DefaultTextSpec, []bundle.ProbeCase{c}); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*ranker.SignalInput){
		"no candidates": func(in *ranker.SignalInput) { in.Request.Candidates = nil },
		"vectors":       func(in *ranker.SignalInput) { in.ItemVectors = in.ItemVectors[1:] },
		"columns":       func(in *ranker.SignalInput) { in.State.Columns = in.State.Columns[1:] },
		"infinite": func(in *ranker.SignalInput) {
			in.State.Columns[len(schema().Columns())-1] = float32(math.Inf(1))
		},
	} {
		in := input()
		spoil(in)
		if _, err := bundle.RecordProbe(t.Context(), b.Model, in); err == nil {
			t.Errorf("%s: recorded without an error", name)
		}
	}
}

// A bundle that gives other scores than recorded is refused, and so is one whose scores are not
// finite.
func TestProbeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*bundle.ProbeCase)
		err   string
	}{
		"as it was": {func(*bundle.ProbeCase) {}, ""},
		"rounding":  {func(c *bundle.ProbeCase) { c.Scores[2] *= 1 + 1e-7 }, ""},
		"another": {func(c *bundle.ProbeCase) {
			c.Scores[2] += 1e-4
		}, "candidate 2 has the score"},
		"expected NaN": {func(c *bundle.ProbeCase) {
			c.Scores[0] = math.NaN()
		}, "candidate 0 has the score"},
		"not finite": {func(c *bundle.ProbeCase) {
			c.Input.State.Columns[len(schema().Columns())-1] = float32(math.Inf(1))
		}, "not finite"},
		"another width": {func(c *bundle.ProbeCase) {
			c.Input.State.Columns = c.Input.State.Columns[:candidates]
		}, "feature cells"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			v := write(t, root, 1, func(_ *bundle.Manifest, files map[string][]byte) {
				one := recorded(t)
				c.spoil(&one)
				data, err := bundle.EncodeProbe(ranker.DefaultTextSpec, []bundle.ProbeCase{one})
				if err != nil {
					t.Fatal(err)
				}
				files[bundle.ProbeFile] = data
			})
			err := inProcess(t.Context(), filepath.Join(root, v))
			if c.err == "" && err != nil ||
				c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

func TestEncodeProbeRefuses(t *testing.T) {
	one := recorded(t)
	long := one
	long.Input.ItemVectors = append([][]float32{{1, 2, 3}}, long.Input.ItemVectors[1:]...)
	short := one
	short.Scores = short.Scores[1:]
	for name, c := range map[string]struct {
		spec  ranker.TextSpec
		cases []bundle.ProbeCase
	}{
		"none":         {nil, nil},
		"too many":     {nil, make([]bundle.ProbeCase, 0, 9)},
		"another text": {ranker.TextSpec{"text"}, []bundle.ProbeCase{one}},
		"dimensions":   {nil, []bundle.ProbeCase{long}},
		"scores":       {nil, []bundle.ProbeCase{short}},
	} {
		for len(c.cases) < cap(c.cases) {
			c.cases = append(c.cases, one)
		}
		if _, err := bundle.EncodeProbe(c.spec, c.cases); err == nil {
			t.Errorf("%s: encoded without an error", name)
		}
	}
}

// A probe that is truncated anywhere, or that has trailing bytes, is refused.
func TestProbeIsWhole(t *testing.T) {
	_, files := parts(1)
	data := files[bundle.ProbeFile]
	for n := range data {
		if _, err := bundle.DecodeProbe(data[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were decoded", n, len(data))
		}
	}
	if _, err := bundle.DecodeProbe(append(bytes.Clone(data), 0)); err == nil {
		t.Error("decoded with a trailing byte")
	}
}

// Decoding any bytes returns an error or a case that can be ranked.
func FuzzDecodeProbe(f *testing.F) {
	_, files := parts(1)
	data := files[bundle.ProbeFile]
	f.Add(data)
	f.Add(data[:len(data)-8])
	f.Add([]byte("RLPROBE1\x02\x00\x00\x00{}"))
	f.Add([]byte("RLPROBE1\xff\xff\xff\xff{}"))
	f.Add(bytes.Replace(data, []byte(`"dim":2`), []byte(`"dim":8`), 1))
	f.Add(bytes.Replace(data, []byte(`"columns":`), []byte(`"columns":1`), 1))
	all := []ranker.Signal{signals.TextSimilarity{}, signals.TokenOverlap{}}
	f.Fuzz(func(t *testing.T, data []byte) {
		cases, err := bundle.DecodeProbe(data)
		if err != nil {
			return
		}
		for _, c := range cases {
			if len(c.Scores) != len(c.Input.Request.Candidates) ||
				len(c.Input.ItemVectors) != len(c.Scores) {
				t.Fatal("the decoded case is not aligned")
			}
			for _, m := range all {
				out := make([]float32, len(c.Scores)*len(m.Columns()))
				if err := m.Compute(t.Context(), &c.Input, out); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
