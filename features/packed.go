package features

import "relish/ranker"

// AppendItem appends the packed state of one item to dst; ok is false when nothing is known of it.
func (s *State) AppendItem(dst []byte, id string) (_ []byte, ok bool) {
	it := s.items[id]
	if it == nil {
		return dst, false
	}
	e := encoder{dst}
	start := len(dst)
	e.begin(kindItem, s.cfg.layoutHash())
	e.string(id)
	e.uint(uint64(btoi(it.info != nil)))
	if it.info != nil {
		e.string(it.info.Title)
		e.string(it.info.Text)
		e.strings(it.info.Tags)
		e.fields(it.info.Fields)
	}
	e.int(it.time)
	e.times(it.times)
	e.int(it.first)
	e.int(it.seen)
	e.counts(&it.counts)
	e.seal(start)
	return e.b, true
}

// LoadItem puts one item's packed state in place. On an error (ErrCorrupt, ErrLayout, or a newer
// version) the state is as before.
func (s *State) LoadItem(data []byte) error {
	d := decoder{b: data}
	d.open(kindItem, s.cfg.layoutHash())
	it := &itemState{}
	content := ranker.Item{ID: d.string()}
	if d.uint() == 1 {
		content.Title, content.Text, content.Tags, content.Fields = d.string(), d.string(), d.strings(), d.fields()
		it.setInfo(ranker.NewItemInfo(content, s.cfg.Text), s.cfg.Fields)
	}
	it.time, it.times, it.first, it.seen = d.int(), d.times(), d.int(), d.int()
	it.counts = d.counts(&s.layout)
	if err := d.done(); err != nil {
		return err
	}
	s.items[content.ID] = it
	return nil
}

// AppendUser appends the packed state of one user to dst; ok is false when nothing is known of him.
func (s *State) AppendUser(dst []byte, id string) (_ []byte, ok bool) {
	u := s.users[id]
	if u == nil {
		return dst, false
	}
	e := encoder{dst}
	start := len(dst)
	e.begin(kindUser, s.cfg.layoutHash())
	e.string(id)
	e.fields(u.fields)
	e.times(u.times)
	e.uint(uint64(len(u.recent)))
	for _, in := range u.recent {
		e.string(in.Item)
		e.string(in.Action)
		e.int(in.Time)
		e.float(float64(in.Value))
	}
	e.uint(uint64(len(u.shown)))
	for _, sh := range u.shown {
		e.string(sh.Item)
		e.int(sh.Time)
		e.uint(uint64(btoi(sh.Clicked)))
	}
	e.int(u.seen)
	e.counts(&u.counts)
	for _, list := range u.values {
		e.uint(uint64(len(list)))
		for i := range list {
			e.string(list[i].value)
			e.int(list[i].seen)
			e.counts(&list[i].counts)
		}
	}
	e.seal(start)
	return e.b, true
}

// LoadUser puts one user's packed state in place, with LoadItem's errors.
func (s *State) LoadUser(data []byte) error {
	d := decoder{b: data}
	d.open(kindUser, s.cfg.layoutHash())
	id := d.string()
	u := &userState{fields: d.fields(), times: d.times(), values: make([][]userValue, len(s.cfg.Fields))}
	for range d.length() {
		u.recent = append(u.recent, ranker.Interaction{Item: d.string(), Action: d.string(), Time: d.int(), Value: float32(d.float())})
	}
	for range d.length() {
		u.shown = append(u.shown, ranker.Shown{Item: d.string(), Time: d.int(), Clicked: d.uint() == 1})
	}
	u.seen = d.int()
	u.counts = d.counts(&s.layout)
	for f := range u.values {
		for range d.length() {
			u.values[f] = append(u.values[f], userValue{value: d.string(), seen: d.int(), counts: d.counts(&s.layout)})
		}
	}
	if err := d.done(); err != nil {
		return err
	}
	s.users[id] = u
	return nil
}

// appendValue and loadValue do the same for a field value's counters, and for the global ones (field -1).
func (s *State) appendValue(dst []byte, field int, value string, c *counts) []byte {
	e := encoder{dst}
	start := len(dst)
	kind := byte(kindValue)
	if field < 0 {
		kind = kindGlobal
	}
	e.begin(kind, s.cfg.layoutHash())
	e.int(int64(field))
	e.string(value)
	e.counts(c)
	e.seal(start)
	return e.b
}

func (s *State) loadValue(kind byte, data []byte) error {
	d := decoder{b: data}
	d.open(kind, s.cfg.layoutHash())
	field, value, c := d.int(), d.string(), d.counts(&s.layout)
	if err := d.done(); err != nil {
		return err
	}
	switch {
	case kind == kindGlobal:
		s.global = c
	case field < 0 || field >= int64(len(s.values)):
		return ErrCorrupt
	default:
		s.values[field][value] = &c
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
