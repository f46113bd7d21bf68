package features

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"relish/ranker"
)

// program computes a schema's state columns.
type program struct {
	width int
	steps []step
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

func (t *Tables) program(schema *ranker.Schema) (*program, error) {
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
		if ranker.FromState(f.Kind) {
			if fill := t.compile(&f); fill != nil {
				p.steps = append(p.steps, step{schema.First(i), fill})
			}
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

func (p *program) run(r *reader) []float32 {
	n := len(r.items)
	out := make([]float32, n*p.width)
	missing := float32(nan)
	for i := range out {
		out[i] = missing
	}
	for _, st := range p.steps {
		fill := st.fill(r)
		for i := range n {
			fill(i, out[i*p.width+st.at:(i+1)*p.width])
		}
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
			_, ok := cfg.kind(f.Action)
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

// compile returns what fills the feature's columns, nil for one that nothing here can fill.
func (t *Tables) compile(f *ranker.Feature) filler {
	switch f.Kind {
	case ranker.KindNumber, ranker.KindBoolean:
		return numberFill(f.Field)
	case ranker.KindCategory:
		return categoryFill(f)
	case ranker.KindContext:
		return contextFill(f)
	case ranker.KindWordCount:
		return wordCountFill(f.Field)
	case ranker.KindAge:
		return ageFill(f.Field)
	case ranker.KindTimeOfDay:
		return timeOfDayFill
	case ranker.KindHistory:
		return historyFill
	case ranker.KindInteracted:
		return interactedFill(slices.Index(t.cfg.Fields, f.Field), f.Action)
	case ranker.KindTable:
		return t.tableFill(f)
	case ranker.KindCount:
		return t.counter(f).logs
	case ranker.KindRate:
		return t.counter(f).rates
	}
	return nil
}
