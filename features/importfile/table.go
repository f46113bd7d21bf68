package importfile

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"relish/internal/suggest"
	"relish/ranker"
)

// table is a file with columns. The columns of JSON become known row by row.
type table interface {
	// columns returns the names of the columns so far.
	columns() []string
	// next returns the next row, io.EOF after the last.
	next() (tableRow, error)
}

// tableRow is one row of a table. Its cells are aligned with the columns; there may be fewer.
type tableRow struct {
	line  int
	cells []cell
	bad   *ranker.EventError // the reason why the row has no cells
	size  int                // in bytes
}

// readTable reads a file whose rows are interactions, items or users.
func (r *Reader) readTable(t table, emit emitFunc) error {
	sample, end := readSample(t.next, func(row tableRow) int { return row.size })
	if len(sample) == 0 && !errors.Is(end, io.EOF) {
		return end
	}
	p := &plan{opt: &r.opt, kind: r.opt.Kind, desc: &r.desc}
	if p.kind == "" {
		p.kind = ranker.EventInteraction
	}
	if err := p.prepare(t.columns(), sample); err != nil {
		return err
	}
	return useAll(sample, end, t.next, func(row tableRow) error {
		if row.bad != nil {
			return emit(row.line, ranker.Event{}, row.bad)
		}
		if p.planned < len(t.columns()) {
			p.extend(t.columns())
		}
		e, bad := p.event(row.cells)
		return emit(row.line, e, bad)
	})
}

// plan says which column becomes what.
type plan struct {
	opt     *Options
	kind    ranker.EventKind
	desc    *Description
	planned int            // number of columns that at and fields cover
	at      map[string]int // name -> column
	fields  []field
	unit    TimeUnit // of times
}

// field is a column that becomes a field of an item or a user.
type field struct {
	name   string
	column int
	typ    string // "" = as the cell is
}

// prepare makes the plan by the columns and the sample of a file.
func (p *plan) prepare(columns []string, sample []tableRow) error {
	p.at = map[string]int{}
	if err := p.checkOptions(columns); err != nil {
		return err
	}
	p.extend(columns)
	if err := p.checkColumns(columns); err != nil {
		return err
	}
	var times timeSample
	if at, ok := p.at[nameTime]; ok {
		for _, c := range column(sample, at) {
			times.add(c)
		}
	}
	var err error
	if p.unit, err = times.unit(p.opt.TimeUnit); err != nil {
		return err
	}
	p.desc.Times = times.describe(p.unit)
	p.desc.Fields = map[string]string{}
	for i := range p.fields {
		f := &p.fields[i]
		if f.typ == "" {
			f.typ = typeOf(column(sample, f.column), p.opt.ListSeparator)
		}
		if f.typ != "" {
			p.desc.Fields[f.name] = f.typ
		}
	}
	return nil
}

// column returns the cells of one column.
func column(rows []tableRow, at int) []cell {
	var cells []cell
	for _, row := range rows {
		if at < len(row.cells) {
			cells = append(cells, row.cells[at])
		}
	}
	return cells
}

// checkOptions checks the names that the options map and type.
func (p *plan) checkOptions(columns []string) error {
	known := names[p.kind]
	named := map[int]string{} // column -> name
	for _, name := range slices.Sorted(maps.Keys(p.opt.Columns)) {
		col := p.opt.Columns[name]
		if p.kind == ranker.EventInteraction && !slices.Contains(known, name) {
			return fmt.Errorf("columns are mapped to %s; there is no %q%s",
				strings.Join(known, ", "), name, suggest.DidYouMean(name, known))
		}
		if col == "" {
			continue
		}
		at := find(columns, col)
		if at < 0 {
			return fmt.Errorf("there is no column %q for %s; the columns are %s%s", col, name,
				list(columns), suggest.DidYouMean(col, columns))
		}
		if other, taken := named[at]; taken {
			return fmt.Errorf("column %q is mapped to %s and to %s; a column has one name", col,
				other, name)
		}
		named[at] = name
	}
	return p.checkTypes(columns)
}

// checkTypes checks the fields that the options type.
func (p *plan) checkTypes(columns []string) error {
	fields := slices.Concat(columns, slices.Sorted(maps.Keys(p.opt.Columns)))
	for _, name := range slices.Sorted(maps.Keys(p.opt.Types)) {
		typ := p.opt.Types[name]
		if !slices.Contains(FieldTypes, typ) {
			return fmt.Errorf("there is no type %q for field %q; use %s", typ, name,
				strings.Join(FieldTypes, ", "))
		}
		if !slices.Contains(fields, name) {
			return fmt.Errorf("there is no field %q for the type %s; the columns are %s%s",
				name, typ, list(columns), suggest.DidYouMean(name, fields))
		}
	}
	return nil
}

// find returns the position of a column. Case counts only if names differ in nothing else.
func find(columns []string, name string) int {
	if i := slices.Index(columns, name); i >= 0 {
		return i
	}
	return slices.IndexFunc(columns, func(c string) bool { return strings.EqualFold(c, name) })
}

// extend plans the columns that are not planned yet.
func (p *plan) extend(columns []string) {
	known := names[p.kind]
	named := map[string]string{} // column -> name
	for name, col := range p.opt.Columns {
		if i := find(columns, col); col != "" && i >= 0 {
			named[columns[i]] = name
		}
	}
	for i := p.planned; i < len(columns); i++ {
		col := columns[i]
		name, mapped := named[col]
		if !mapped {
			if name = col; slices.Contains(known, strings.ToLower(col)) {
				name = strings.ToLower(col)
			}
			if _, other := p.opt.Columns[name]; other {
				name = "" // another column has the name, or none shall have it
			}
		}
		_, taken := p.at[name]
		switch {
		case name != "" && slices.Contains(known, name) && !taken:
			p.at[name] = i
		case name != "" && p.kind != ranker.EventInteraction && !taken:
			p.fields = append(p.fields, field{name, i, p.opt.Types[name]})
		default:
			p.desc.unused(col)
		}
	}
	p.planned = len(columns)
}

// ---- Rows ----

// event returns the event of a row.
func (p *plan) event(cells []cell) (ranker.Event, *ranker.EventError) {
	get := func(name string) *cell {
		if at, ok := p.at[name]; ok && at < len(cells) {
			return &cells[at]
		}
		return &cell{}
	}
	e := ranker.Event{Kind: p.kind, ID: get(nameID).id()}
	if s := get(nameTime).trimmed(); !isNull(s) {
		ms, err := p.unit.parseTime(s)
		if err != nil {
			return e, invalid(nameTime, err)
		}
		e.Time = ms
	}
	if p.kind != ranker.EventInteraction {
		bad := p.describe(&e, get, cells)
		return e, bad
	}
	e.UserID, e.ItemID = get(nameUser).id(), get(nameItem).id()
	e.Session, e.ImpressionID = get(nameSession).id(), get(nameImpression).id()
	e.Action = p.opt.Action
	if c := get(nameAction); !c.isMissing() && c.trimmed() != "" {
		e.Action = c.trimmed()
	}
	if to, ok := p.opt.Actions[e.Action]; ok {
		e.Action = to
	}
	if s := get(nameValue).trimmed(); !isNull(s) {
		v, ok := fieldNumber(s)
		if !ok {
			return e, invalid(nameValue, fmt.Errorf("must be a number like 12.50, not %.40q", s))
		}
		e.Value = &v
	}
	return e, nil
}

// describe fills in the event of an item or a user.
func (p *plan) describe(
	e *ranker.Event, get func(string) *cell, cells []cell,
) *ranker.EventError {
	if p.kind == ranker.EventUser {
		e.UserID = get(nameUser).id()
	} else {
		e.ItemID = get(nameItem).id()
		for name, to := range map[string]**string{nameTitle: &e.Title, nameText: &e.Text} {
			switch c := get(name); {
			case c.isMissing():
			case c.kind == texts, c.kind == numbers, c.kind == unsupported:
				return invalid(name, errors.New("must be a text"))
			default:
				*to = &c.text
			}
		}
		if c := get(nameTags); c.kind == unsupported {
			return invalid(nameTags, errors.New("must be a list of texts"))
		} else if !c.isMissing() {
			e.Tags = c.strings(p.opt.ListSeparator)
		}
	}
	for _, f := range p.fields {
		if f.column >= len(cells) {
			continue
		}
		v, why := cells[f.column].value(f.typ, p.opt.ListSeparator)
		if why != "" {
			advice := "--types " + f.name + "=text to keep the column as text"
			if cells[f.column].kind == unsupported {
				advice = "--columns " + f.name + "= to leave the column out"
			}
			return invalid("fields/"+f.name,
				fmt.Errorf("%.40q %s. Pass %s", cells[f.column].text, why, advice))
		}
		if v.Kind != ranker.NoValue {
			if e.Fields == nil {
				e.Fields = map[string]ranker.FieldValue{}
			}
			e.Fields[f.name] = v
		}
	}
	return nil
}

func invalid(name string, err error) *ranker.EventError {
	return &ranker.EventError{Code: "invalid_field", Pointer: "/" + name, Message: err.Error()}
}
