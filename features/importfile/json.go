package importfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/features/event"
	"relish/ranker"
)

// document is one JSON value of a file.
type document struct {
	line int // on which the value begins
	data []byte
	bad  *ranker.EventError
}

// documents reads the JSON values of a file: one a line, values that span lines, or an array. If
// each value has a line of its own, a damaged line does not touch the others.
type documents struct {
	lines  lineReader
	first  *line        // the first line, until it is returned
	values *valueReader // values that span lines; nil: each line is a value
}

func newDocuments(in *stream) *documents {
	return &documents{lines: lineReader{in: in.Reader}}
}

// start reads the first line and decides how the values are written.
func (d *documents) start() error {
	first, err := d.lines.next()
	if err != nil {
		return err
	}
	start, end := bytes.TrimSpace(first.text), byte(0)
	if len(start) > 0 {
		end = start[len(start)-1]
	}
	array := len(start) > 0 && start[0] == '['
	if !array && (first.tooLong || end == '}' || start[0] != '{') {
		d.first = &first
		return nil
	}
	rest := io.MultiReader(bytes.NewReader(append(first.text, '\n')), d.lines.in)
	d.values = &valueReader{in: bufio.NewReaderSize(rest, bufferBytes), line: first.number}
	if array {
		d.values.array = true
		_, err = d.values.peek()
		d.values.discard(1)
	}
	return err
}

// next returns the next value, io.EOF after the last.
func (d *documents) next() (document, error) {
	if d.values == nil && d.first == nil && d.lines.number == 0 {
		if err := d.start(); err != nil {
			return document{}, err
		}
	}
	if d.values != nil {
		return d.values.next()
	}
	l, err := d.nextLine()
	if err != nil {
		return document{}, err
	}
	doc := document{line: l.number, data: bytes.TrimSpace(l.text)}
	if l.tooLong {
		doc.bad = tooLong()
	}
	return doc, nil
}

func (d *documents) nextLine() (line, error) {
	if d.first != nil {
		first := *d.first
		d.first = nil
		return first, nil
	}
	return d.lines.next()
}

// ---- Events ----

// readEvents reads JSON objects that are events.
func (r *Reader) readEvents(docs *documents, emit emitFunc) error {
	sample, end := readSample(docs.next, func(d document) int { return len(d.data) })
	if len(sample) == 0 && !errors.Is(end, io.EOF) {
		return end
	}
	if err := r.checkEvents(sample); err != nil {
		return err
	}
	var times timeSample
	for _, d := range sample {
		for _, c := range timesOf(d.data) {
			times.add(c)
		}
	}
	unit, err := times.unit(r.opt.TimeUnit)
	if err != nil {
		return err
	}
	r.desc.Times = times.describe(unit)
	decoder := event.NewDecoder(unit.parseEventTime)
	decode := decoder.Decode
	if r.opt.Metarank {
		decode = decoder.DecodeMetarank
	}
	use := func(d document) error {
		if d.bad != nil {
			return emit(d.line, ranker.Event{}, d.bad)
		}
		e, bad := decode(d.data)
		return emit(d.line, e, bad)
	}
	return useAll(sample, end, docs.next, use)
}

// timesOf returns the times of a document that has the form of an event.
func timesOf(data []byte) []cell {
	var probe struct {
		Time      jsontext.Value `json:"time"`
		Timestamp jsontext.Value `json:"timestamp"`
	}
	if json.Unmarshal(data, &probe) != nil {
		return nil
	}
	return []cell{jsonCell(probe.Time), jsonCell(probe.Timestamp)}
}

// checkEvents returns an error if no document of the sample looks like an event.
func (r *Reader) checkEvents(sample []document) error {
	names := nameList{}
	for _, d := range sample {
		var object map[string]jsontext.Value
		if json.Unmarshal(d.data, &object) != nil {
			continue
		}
		_, native := object["type"]
		_, metarank := object["event"]
		if native || metarank || r.opt.Metarank {
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			names.add(name)
		}
	}
	if len(names.list) == 0 {
		return nil
	}
	p := plan{opt: &r.opt, kind: ranker.EventInteraction}
	return fmt.Errorf("the objects are no events: they have no field %q. %s", "type",
		p.suggest(names.list))
}

// ---- Rows ----

// jsonTable reads JSON objects as the rows of a table.
type jsonTable struct {
	docs  *documents
	names nameList
}

func newJSONTable(in *stream) *jsonTable { return &jsonTable{docs: newDocuments(in)} }

func (t *jsonTable) columns() []string { return t.names.list }

func (t *jsonTable) next() (tableRow, error) {
	d, err := t.docs.next()
	if err != nil {
		return tableRow{}, err
	}
	row := tableRow{line: d.line, size: len(d.data), bad: d.bad}
	if row.bad == nil {
		row.cells, row.bad = t.cells(d.data)
	}
	return row, nil
}

func (t *jsonTable) cells(data []byte) ([]cell, *ranker.EventError) {
	object, bad := jsonObject(data)
	if bad != nil {
		return nil, bad
	}
	if len(t.names.list)+len(object) > maxColumns && !t.names.hasAll(object) {
		return nil, malformed("brings more than %d different names into the file", maxColumns)
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		t.names.add(name)
	}
	cells := make([]cell, len(t.names.list))
	for name, value := range object {
		cells[t.names.at[name]] = jsonCell(value)
	}
	return cells, nil
}

func jsonObject(data []byte) (object map[string]jsontext.Value, bad *ranker.EventError) {
	err := json.Unmarshal(data, &object)
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax):
		return nil, malformed("%s", event.SyntaxMessage(syntax, data))
	case err != nil || object == nil:
		return nil, malformed("is not a JSON object")
	}
	return object, nil
}

// maxColumns bounds the columns of a table.
const maxColumns = 1000

// nameList is a list of different names in the order of their first use.
type nameList struct {
	list []string
	at   map[string]int
}

func (n *nameList) add(name string) {
	if _, ok := n.at[name]; ok {
		return
	}
	if n.at == nil {
		n.at = map[string]int{}
	}
	n.at[name] = len(n.list)
	n.list = append(n.list, name)
}

func (n *nameList) hasAll(object map[string]jsontext.Value) bool {
	for name := range object {
		if _, ok := n.at[name]; !ok {
			return false
		}
	}
	return true
}

// jsonCell converts a JSON value into a cell.
func jsonCell(value jsontext.Value) cell {
	switch value.Kind() {
	case '"':
		var s string
		_ = json.Unmarshal(value, &s)
		return cell{kind: text, text: s}
	case '0':
		return cell{kind: number, text: string(value)}
	case 't', 'f':
		return cell{kind: boolean, text: string(value)}
	case '[':
		return jsonListCell(value)
	case '{':
		return cell{kind: unsupported, text: string(value)}
	}
	return cell{} // null, or no value
}

// jsonValues returns the members of an array.
func jsonValues(array []byte) (values []jsontext.Value, err error) {
	err = json.Unmarshal(array, &values)
	return values, err
}

func jsonListCell(value jsontext.Value) cell {
	values, _ := jsonValues(value)
	c := cell{kind: texts, list: []string{}}
	for _, v := range values {
		member := jsonCell(v)
		kind := texts
		if member.kind == number {
			kind = numbers
		}
		switch {
		case member.kind == missing:
			continue // null says nothing
		case member.kind != text && member.kind != number, len(c.list) > 0 && kind != c.kind:
			return cell{kind: unsupported, text: string(value)}
		}
		c.kind = kind
		c.list = append(c.list, member.text)
	}
	return c
}
