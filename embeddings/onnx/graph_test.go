package onnx

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// sumModel returns a graph that adds two float vectors of any length and negates a condition. It
// has two outputs and two element types.
func sumModel() []byte {
	field := func(b []byte, n protowire.Number, v ...[]byte) []byte {
		for _, part := range v {
			b = protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), part)
		}
		return b
	}
	num := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	name := func(s string) []byte { return []byte(s) }
	value := func(s string, elem uint64) []byte {
		shape := field(nil, 1, field(nil, 2, name("n")))
		return field(field(nil, 1, name(s)), 2, field(nil, 1, field(num(1, elem), 2, shape)))
	}
	node := func(op, out string, in ...string) []byte {
		var b []byte
		for _, i := range in {
			b = field(b, 1, name(i))
		}
		return field(field(b, 2, name(out)), 4, name(op))
	}
	graph := field(nil, 1, node("Add", "sum", "x", "y"), node("Not", "no", "yes"))
	graph = field(graph, 2, name("g"))
	graph = field(graph, 11, value("x", 1), value("y", 1), value("yes", 9))
	graph = field(graph, 12, value("sum", 1), value("no", 9))
	return field(field(num(1, 10), 7, graph), 8, num(2, 21))
}

func TestGraph(t *testing.T) {
	g, err := start(t).LoadGraph(sumModel(), GraphOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if got := strings.Join(append(g.Inputs(), g.Outputs()...), " "); got != "x y yes sum no" {
		t.Errorf("inputs and outputs: %s", got)
	}
	for _, n := range []int64{1, 3} { // each run may have another length
		vec := func(v float32) Tensor {
			data := make([]float32, n)
			for i := range data {
				data[i] = v + float32(i)
			}
			return Tensor{Shape: []int64{n}, Data: data}
		}
		flags := func(v bool) Tensor {
			data := make([]bool, n)
			for i := range data {
				data[i] = v
			}
			return Tensor{Shape: []int64{n}, Data: data}
		}
		sum, no := vec(0), flags(true)
		in := []Tensor{vec(1), vec(10), flags(true)}
		if err := g.Run(t.Context(), in, []Tensor{sum, no}); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if sum.Data.([]float32)[i] != float32(11+2*i) || no.Data.([]bool)[i] {
				t.Errorf("n %d: %v, %v", n, sum.Data, no.Data)
			}
		}
	}
}

func TestGraphRefuses(t *testing.T) {
	rt := start(t)
	g, err := rt.LoadGraph(sumModel(), GraphOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	one := Tensor{Shape: []int64{1}, Data: []float32{1}}
	yes := Tensor{Shape: []int64{1}, Data: []bool{true}}
	two := Tensor{Shape: []int64{2}, Data: make([]float32, 2)}
	out := []Tensor{
		{Shape: []int64{1}, Data: make([]float32, 1)},
		{Shape: []int64{1}, Data: make([]bool, 1)},
	}
	for _, c := range []struct {
		name, want string
		x          Tensor
		out        []Tensor
	}{
		{"too few outputs", "1 outputs", one, out[:1]},
		{"a scalar", "[1]", Tensor{Data: []float32{1}}, out},
		{"no element", "dimension 0 is 0; each must be 1 or more",
			Tensor{Shape: []int64{0}, Data: []float32{}}, out},
		{"a wrong count", "has 2 elements", Tensor{Shape: []int64{1}, Data: []float32{1, 2}}, out},
		{"an unsupported type", "string", Tensor{Shape: []int64{1}, Data: []string{"a"}}, out},
		{"another type", "input", Tensor{Shape: []int64{1}, Data: []int64{1}}, out},
		{"an output of another shape", "shape", one, []Tensor{two, out[1]}},
	} {
		err := g.Run(t.Context(), []Tensor{c.x, one, yes}, c.out)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Run(ended, []Tensor{one, one, yes}, out); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	for _, c := range []struct {
		want  string
		model []byte
		opt   GraphOptions
	}{
		{"onnxfile", []byte("no graph"), GraphOptions{}},
		{"at least one input", sumModel(),
			GraphOptions{Inputs: []string{}, Outputs: []string{"sum"}}},
		{"unknown", sumModel(), GraphOptions{Device: "tpu"}},
		{"no GPU", sumModel(), GraphOptions{Device: "cuda"}},
	} {
		if g, err := rt.LoadGraph(c.model, c.opt); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, %v, want an error with %q", g, err, c.want)
		}
	}
}

// Close waits for the runs in progress; later runs fail, and nothing crashes.
func TestCloseDuringRuns(t *testing.T) {
	rt := start(t)
	before := rt.OpenSessions()
	for range 20 {
		g, err := rt.LoadGraph(sumModel(), GraphOptions{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		started := make(chan struct{}, 4)
		var runs sync.WaitGroup
		for range 4 {
			runs.Go(func() {
				one := Tensor{Shape: []int64{1}, Data: []float32{1}}
				yes := Tensor{Shape: []int64{1}, Data: []bool{true}}
				for n := 0; ; n++ {
					out := []Tensor{
						{Shape: []int64{1}, Data: make([]float32, 1)},
						{Shape: []int64{1}, Data: make([]bool, 1)},
					}
					err := g.Run(context.Background(), []Tensor{one, one, yes}, out)
					if n == 0 {
						started <- struct{}{}
					}
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		<-started
		g.Close()
		g.Close()
		runs.Wait()
	}
	if n := rt.OpenSessions(); n != before {
		t.Errorf("%d sessions are open, %d were before", n, before)
	}
}
