package features

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"relish/internal/parallel"
	"relish/ranker"
)

// program computes a schema's state columns.
type program struct {
	width int
	steps []step

	fixed      []fixed // what the candidates' contents decide
	fixedWidth int     // of their columns together
	spans      []span  // where these are
}

// step fills one feature's columns, from column at on.
type step struct {
	at   int
	fill filler
}

// filler prepares what all rows of one request share, and returns what fills one row.
type filler func(r *reader) fill

// fill sets candidate i's cells, row, which are missing so far.
type fill func(i int, row []float32)

// programs caches compiled schemas: a server has a handful.
type programs struct {
	mu     sync.Mutex
	byHash map[string]*program
}

// maxPrograms bounds the cache; the rare schema above it is compiled anew each time.
const maxPrograms = 32

func (t *Counters) program(schema *ranker.Schema) (*program, error) {
	t.programs.mu.Lock()
	defer t.programs.mu.Unlock()
	if p := t.programs.byHash[schema.Hash()]; p != nil {
		return p, nil
	}
	if err := CheckSchema(&t.cfg, schema); err != nil {
		return nil, err
	}
	p := &program{width: len(schema.Columns())}
	for i, f := range schema.Features() {
		if ranker.IsStateKind(f.Kind) {
			p.add(t, &f, schema.FirstColumn(i))
		}
	}
	if t.programs.byHash == nil {
		t.programs.byHash = map[string]*program{}
	}
	if len(t.programs.byHash) < maxPrograms {
		t.programs.byHash[schema.Hash()] = p
	}
	return p, nil
}

// add compiles a feature whose columns begin at at.
func (p *program) add(t *Counters, f *ranker.Feature, at int) {
	if fill, width := compileFixed(f); fill != nil {
		p.fixed = append(p.fixed, fixed{at, width, fill})
		if k := len(p.spans) - 1; k >= 0 && p.spans[k].at+p.spans[k].width == at {
			p.spans[k].width += width
		} else {
			p.spans = append(p.spans, span{p.fixedWidth, at, width})
		}
		p.fixedWidth += width
	} else if fill := t.compile(f); fill != nil {
		p.steps = append(p.steps, step{at, fill})
	}
}

// run goes candidate by candidate, so that what is known of one is fetched into the processor's caches once.
func (p *program) run(r *reader) []float32 {
	n := len(r.items)
	out := blank(n * p.width)
	fills := make([]fill, len(p.steps))
	for k, st := range p.steps {
		fills[k] = st.fill(r)
	}
	parallel.Rows(n, leastRows, func(from, to int) {
		for i := from; i < to; i++ {
			row := out[i*p.width : (i+1)*p.width]
			p.fix(r, i, row)
			for k, fill := range fills {
				fill(i, row[p.steps[k].at:])
			}
		}
	})
	return out
}

// leastRows are filled on one processor: to wake another would take longer.
const leastRows = 32

// blank returns n missing cells.
func blank(n int) []float32 {
	out, missing := make([]float32, n), float32(nan)
	for i := range out {
		out[i] = missing
	}
	return out
}

// CheckSchema reports every action, field and half-life that the schema needs and the configuration
// does not count.
func CheckSchema(cfg *Config, schema *ranker.Schema) error {
	var errs []error
	for _, f := range schema.Features() {
		if f.Kind != ranker.KindCount && f.Kind != ranker.KindRate && f.Kind != ranker.KindInteracted {
			continue
		}
		need := func(key, name string, have bool) {
			if !have {
				errs = append(errs, fmt.Errorf("feature %q needs %q of state.%s, which the server does not count: add it there in relish.yaml", f.Name, name, key))
			}
		}
		if f.Kind != ranker.KindInteracted || f.Action != "" {
			_, ok := cfg.counterIndex(f.Action)
			need("actions", f.Action, ok)
		}
		if f.Kind == ranker.KindInteracted || f.Scope == ranker.ScopeField || f.Scope == ranker.ScopeUserField {
			need("fields", f.Field, slices.Contains(cfg.Fields, f.Field))
		}
		if f.Kind != ranker.KindInteracted {
			need("half_lives", halfLife(&f), slices.Contains(cfg.HalfLives, halfLife(&f)))
		}
	}
	return errors.Join(errs...)
}

func halfLife(f *ranker.Feature) string {
	if f.HalfLife == "" {
		return "all"
	}
	return f.HalfLife
}

// compileFixed returns what fills the columns of a feature that the item's content alone decides, and how many they are;
// nil for any other.
func compileFixed(f *ranker.Feature) (fill func(*ranker.ItemInfo, []float32), width int) {
	if f.Kind == ranker.KindWordCount {
		return wordCountOf(f.Field), 1
	}
	if _, ok := userField(f.Field); ok {
		return nil, 0
	}
	switch f.Kind {
	case ranker.KindNumber, ranker.KindBoolean:
		return ofItem(f.Field, setNumber), 1
	case ranker.KindCategory:
		if f.Encode == "index" {
			return ofItem(f.Field, setCategory(f)), 1
		}
		return ofItem(f.Field, setCategory(f)), len(f.Values)
	}
	return nil, 0
}

// compile returns what fills the feature's columns, nil for one that nothing here can fill.
func (t *Counters) compile(f *ranker.Feature) filler {
	switch f.Kind {
	case ranker.KindNumber, ranker.KindBoolean:
		return ofUser(f.Field, setNumber)
	case ranker.KindCategory:
		return ofUser(f.Field, setCategory(f))
	case ranker.KindContext:
		return contextFill(f)
	case ranker.KindAge:
		return ageFill(f.Field)
	case ranker.KindTimeOfDay:
		return timeOfDayFill
	case ranker.KindHistory:
		return historyFill
	case ranker.KindInteracted:
		return interactedFill(slices.Index(t.cfg.Fields, f.Field), f.Action)
	case ranker.KindTable:
		return t.externalFill(f)
	case ranker.KindCount:
		return t.counter(f).logs
	case ranker.KindRate:
		return t.counter(f).rates
	}
	return nil
}
