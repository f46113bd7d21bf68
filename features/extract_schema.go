package features

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"relish/ranker"
)

// ---- Step 2: compile the schema ----

// compiledSchema computes the state columns of one schema. It is immutable, except that it keeps
// numbers of field values between requests.
type compiledSchema struct {
	width   int       // columns of the schema
	missing []float32 // a row of missing cells

	// content holds the features that an item's content alone decides. Their cells are computed
	// once for each item and kept in its itemCache, one feature after the other.
	content      []contentFeature
	contentWidth int
	contentRuns  []columnRun

	// items holds the features of an item's age, counts and rates, one cell each.
	items    []itemFeature
	itemRuns []columnRun
	clocks   lastTwo[itemClock]
	// ages has the columns of an item's age since its first event. agesOfContent says that there
	// are ages since times in an item's content too.
	ages          []int
	agesOfContent bool

	priors   []priorKey       // the priors of all rates
	fields   []*fieldColumns  // features of an item's field values
	tables   []tableFeature   // columns of external tables
	requests []requestFeature // features that are the same for all candidates
}

// contentFeature computes width consecutive content cells.
type contentFeature struct {
	width int
	fill  contentFunc
}

// contentFunc fills the cells of one feature from an item's content.
type contentFunc func(info *ranker.ItemInfo, cells []float32)

// columnRun says where consecutive kept cells belong in a row: width cells from position from to
// column to.
type columnRun struct{ from, to, width int }

// addRun adds width cells from position from that belong to column to.
func addRun(runs []columnRun, from, to, width int) []columnRun {
	if k := len(runs) - 1; k >= 0 && runs[k].to+runs[k].width == to {
		runs[k].width += width
		return runs
	}
	return append(runs, columnRun{from, to, width})
}

// priorKey names the prior of a rate.
type priorKey struct{ action, halfLife int }

// requestFeature sets the columns from first on, alike for all candidates.
type requestFeature struct {
	first int
	set   requestFunc
}

// requestFunc sets the cells of one feature. cells begins with the feature's first column.
type requestFunc func(x *extraction, cells []float32)

// maxSchemas bounds the compiled schemas that are kept. A server uses a handful; a schema above the
// bound is compiled for each request.
const maxSchemas = 32

type schemaCache struct {
	mu     sync.Mutex
	byHash map[string]*compiledSchema
}

// compile returns the compiled schema, from the cache if it is there.
func (t *Counters) compile(schema *ranker.Schema) (*compiledSchema, error) {
	t.schemas.mu.Lock()
	defer t.schemas.mu.Unlock()
	if c := t.schemas.byHash[schema.Hash()]; c != nil {
		return c, nil
	}
	if err := CheckSchema(&t.cfg, schema); err != nil {
		return nil, err
	}
	width := len(schema.Columns())
	c := &compiledSchema{width: width, missing: missingCells(width)}
	for i, f := range schema.Features() {
		if ranker.IsStateKind(f.Kind) {
			c.add(&t.cfg, &f, schema.FirstColumn(i))
		}
	}
	if t.schemas.byHash == nil {
		t.schemas.byHash = map[string]*compiledSchema{}
	}
	if len(t.schemas.byHash) < maxSchemas {
		t.schemas.byHash[schema.Hash()] = c
	}
	return c, nil
}

// add compiles one feature whose columns begin at first.
func (c *compiledSchema) add(cfg *Config, f *ranker.Feature, first int) {
	if fill, width := compileContent(f); fill != nil {
		c.content = append(c.content, contentFeature{width, fill})
		c.contentRuns = addRun(c.contentRuns, c.contentWidth, first, width)
		c.contentWidth += width
		return
	}
	switch f.Kind {
	case ranker.KindCount, ranker.KindRate:
		c.addCounter(c.counterFeature(cfg, f), first)
	case ranker.KindAge:
		if _, ofUser := userField(f.Field); ofUser {
			c.requests = append(c.requests, requestFeature{first, userAge(f.Field)})
		} else {
			c.addItem(itemFeature{isAge: true, ageField: f.Field}, first)
		}
	case ranker.KindInteracted:
		fields := c.fieldColumns(slices.Index(cfg.Fields, f.Field))
		fields.shares = append(fields.shares, shareColumn{
			action: f.Action, column: first, maxValues: f.MaxValues,
		})
	case ranker.KindTable:
		c.tables = append(c.tables, newTableFeature(f.Column, first))
	default:
		if set := compileRequest(f); set != nil {
			c.requests = append(c.requests, requestFeature{first, set})
		}
	}
}

// addCounter adds a count or rate in the column first.
func (c *compiledSchema) addCounter(f counterFeature, first int) {
	switch f.scope {
	case ranker.ScopeItem:
		c.addItem(itemFeature{counter: f}, first)
	case ranker.ScopeField:
		fields := c.fieldColumns(f.field)
		fields.means = append(fields.means, &meanColumn{counterFeature: f, column: first})
	case ranker.ScopeUserField:
		fields := c.fieldColumns(f.field)
		fields.users = append(fields.users, userColumn{f, first})
	default:
		c.requests = append(c.requests, requestFeature{first, f.setForRequest})
	}
}

func (c *compiledSchema) addItem(f itemFeature, first int) {
	f.sameAs = slices.IndexFunc(c.items, f.equals)
	c.itemRuns = addRun(c.itemRuns, len(c.items), first, 1)
	c.items = append(c.items, f)
	if f.isAge && f.ageField == "" {
		c.ages = append(c.ages, first)
	}
	c.agesOfContent = c.agesOfContent || f.ageField != ""
}

// fieldColumns returns the columns of a counted field's values.
func (c *compiledSchema) fieldColumns(field int) *fieldColumns {
	for _, f := range c.fields {
		if f.field == field {
			return f
		}
	}
	f := &fieldColumns{field: field}
	c.fields = append(c.fields, f)
	return f
}

// compileContent returns the function and the number of columns of a feature that an item's content
// alone decides, nil for any other feature.
func compileContent(f *ranker.Feature) (fill contentFunc, width int) {
	if f.Kind == ranker.KindWordCount {
		return wordCountFill(f.Field), 1
	}
	if _, ok := userField(f.Field); ok {
		return nil, 0
	}
	switch f.Kind {
	case ranker.KindNumber, ranker.KindBoolean:
		return itemFieldFill(f.Field, setNumber), 1
	case ranker.KindCategory:
		if f.Encode == "index" {
			return itemFieldFill(f.Field, categorySetter(f)), 1
		}
		return itemFieldFill(f.Field, categorySetter(f)), len(f.Values)
	}
	return nil, 0
}

// compileRequest returns the function of a feature that is the same for all candidates, nil for a
// kind that state does not have.
func compileRequest(f *ranker.Feature) requestFunc {
	switch f.Kind {
	case ranker.KindNumber, ranker.KindBoolean:
		return userFieldSetter(f.Field, setNumber)
	case ranker.KindCategory:
		return userFieldSetter(f.Field, categorySetter(f))
	case ranker.KindContext:
		return contextSetter(f)
	case ranker.KindTimeOfDay:
		return setTimeOfDay
	case ranker.KindHistory:
		return setHistory
	}
	return nil
}

// CheckSchema reports every action, field and half-life that the schema needs and that cfg does not
// count. The error says what to add to relish.yaml.
func CheckSchema(cfg *Config, schema *ranker.Schema) error {
	var errs []error
	for _, f := range schema.Features() {
		if f.Kind != ranker.KindCount && f.Kind != ranker.KindRate &&
			f.Kind != ranker.KindInteracted {
			continue
		}
		need := func(key, name string, counted bool) {
			if !counted {
				errs = append(
					errs,
					fmt.Errorf("feature %q needs %q, which the server does not count: "+
						"add it to state.%s in relish.yaml", f.Name, name, key),
				)
			}
		}
		if f.Kind != ranker.KindInteracted || f.Action != "" {
			_, ok := cfg.counterIndex(f.Action)
			need("actions", f.Action, ok)
		}
		if f.Kind == ranker.KindInteracted || f.Scope == ranker.ScopeField ||
			f.Scope == ranker.ScopeUserField {
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
		return allTime
	}
	return f.HalfLife
}
