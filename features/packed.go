package features

import (
	"unique"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
)

// Where a packed item state has the item's content.
const (
	contentAbsent   = 0
	contentInline   = 1
	contentSeparate = 2 // in a separate packed value; the item state has its hash
)

// AppendItem appends an item's packed state with its content to dst.
func (t *Counters) AppendItem(dst []byte, id string, it *ItemState) []byte {
	e := encoder{dst}
	e.begin(kindItem, t.layoutHash)
	e.string(id)
	if it.Info == nil {
		e.uint(contentAbsent)
	} else {
		e.uint(contentInline)
		e.content(it.Info)
	}
	e.itemRest(it, 0)
	e.seal(len(dst))
	return e.b
}

// AppendItemState appends an item's packed state with the hash of its content to dst. AppendContent
// must have set the hash.
func (t *Counters) AppendItemState(dst []byte, id string, it *ItemState) []byte {
	e := encoder{dst}
	e.begin(kindItem, t.layoutHash)
	e.string(id)
	if it.Hash == 0 {
		e.uint(contentAbsent)
	} else {
		e.uint(contentSeparate)
		e.uint64(it.Hash)
	}
	e.itemRest(it, 0)
	e.seal(len(dst))
	return e.b
}

// itemRest appends all of an item but id and content. Its last event was seen later by idle, ms.
func (e *encoder) itemRest(it *ItemState, idle int64) {
	e.int(it.time)
	e.times(it.times)
	e.int(it.first)
	e.int(it.seen + idle)
	e.counts(&it.counts)
	e.newcomers(it.newcomers)
}

func (e *encoder) content(info *ranker.ItemInfo) {
	e.string(info.Title())
	e.string(info.Text())
	e.strings(info.Tags())
	e.uint(uint64(info.FieldCount()))
	for name, v := range info.Fields() {
		e.string(name)
		e.value(v)
	}
}

func (d *decoder) content(id string) ranker.Item {
	return ranker.Item{
		ID:     id,
		Title:  d.string(),
		Text:   d.string(),
		Tags:   d.strings(),
		Fields: d.fields(),
	}
}

// DecodeItem reads what AppendItem or AppendItemState wrote. After AppendItemState the content has
// only its Hash, and the caller sets the rest. DecodeItem fails with ErrCorrupt, with ErrLayout, or
// with an error that names a newer format version.
func (t *Counters) DecodeItem(data []byte) (id string, it *ItemState, err error) {
	d := decoder{b: data}
	d.open(kindItem, t.layoutHash)
	it, id = &ItemState{}, d.string()
	switch d.uint() {
	case contentAbsent:
	case contentInline:
		it.Content = t.content(d.content(id))
	case contentSeparate:
		it.Hash = d.uint64()
	default:
		d.fail()
	}
	d.itemRest(it, &t.layout)
	return id, it, d.done()
}

// itemRest is the inverse of encoder.itemRest.
func (d *decoder) itemRest(it *ItemState, l *counterLayout) {
	it.time, it.times, it.first, it.seen = d.int(), d.times(), d.int(), d.int()
	it.counts, it.newcomers = d.counts(l), d.newcomers()
}

// AppendContent appends the packed content of a described item to dst and sets it.Hash.
func (t *Counters) AppendContent(dst []byte, it *ItemState) []byte {
	e := encoder{dst}
	start := len(dst)
	e.begin(kindContent, t.layoutHash)
	e.string(it.Info.ID)
	e.content(it.Info)
	e.seal(start)
	it.Hash = contentHash(e.b[start:])
	return e.b
}

// contentHash is never 0, because 0 stands for no content.
func contentHash(packed []byte) uint64 { return max(1, xxhash.Sum64(packed)) }

// DecodeContent reads what AppendContent wrote. It fails as DecodeItem does.
func (t *Counters) DecodeContent(data []byte) (*Content, error) {
	d := decoder{b: data}
	d.open(kindContent, t.layoutHash)
	item := d.content(d.string())
	if err := d.done(); err != nil {
		return nil, err
	}
	c := t.content(item)
	c.Hash = contentHash(data)
	return &c, nil
}

// AppendUser appends a user's packed state to dst.
func (t *Counters) AppendUser(dst []byte, id string, u *UserState) []byte {
	return t.appendUser(dst, id, u, 0)
}

// appendUser is AppendUser for a user whose last event was seen later by the time idle, ms.
func (t *Counters) appendUser(dst []byte, id string, u *UserState, idle int64) []byte {
	e := encoder{dst}
	start := len(dst)
	e.begin(kindUser, t.layoutHash)
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
		e.uint(uint64(boolToInt(sh.Clicked)))
	}
	e.int(u.seen + idle)
	e.counts(&u.counts)
	for _, list := range u.values {
		e.uint(uint64(len(list)))
		for i := range list {
			e.string(list[i].value.Value())
			e.int(list[i].seen)
			e.counts(&list[i].decayedCounts)
		}
	}
	e.seal(start)
	return e.b
}

// DecodeUser reads what AppendUser wrote. It fails as DecodeItem does.
func (t *Counters) DecodeUser(data []byte) (id string, u *UserState, err error) {
	d := decoder{b: data}
	d.open(kindUser, t.layoutHash)
	id = d.string()
	u = &UserState{
		fields: d.fields(),
		times:  d.times(),
		values: make([][]userFieldCounts, len(t.cfg.Fields)),
	}
	u.recent = decodeList(&d, func() ranker.Interaction {
		return ranker.Interaction{
			Item:   d.string(),
			Action: d.string(),
			Time:   d.int(),
			Value:  float32(d.float()),
		}
	})
	u.shown = decodeList(&d, func() ranker.Shown {
		return ranker.Shown{Item: d.string(), Time: d.int(), Clicked: d.uint() == 1}
	})
	u.seen = d.int()
	u.counts = d.counts(&t.layout)
	for f := range u.values {
		u.values[f] = decodeList(&d, func() userFieldCounts {
			return userFieldCounts{
				value:         unique.Make(d.string()),
				seen:          d.int(),
				decayedCounts: d.counts(&t.layout),
			}
		})
	}
	return id, u, d.done()
}

// decodeList reads a length and that many elements, nil for none.
func decodeList[T any](d *decoder, one func() T) []T {
	n := d.length()
	if n == 0 {
		return nil
	}
	list := make([]T, 0, min(n, 1024))
	for range n {
		list = append(list, one())
	}
	return list
}

// AppendCounts appends one packed counter to dst, with zero counts for an unknown key.
func (t *Counters) AppendCounts(dst []byte, key CounterKey) []byte {
	c := t.lookup(key)
	if c == nil {
		c = &decayedCounts{}
	}
	kind := byte(kindValue)
	if key.Field < 0 {
		kind = kindGlobal
	}
	e := encoder{dst}
	e.begin(kind, t.layoutHash)
	e.int(int64(key.Field))
	e.string(key.Value)
	e.counts(c)
	if key.Field < 0 {
		e.newcomers(t.newcomers)
	}
	e.seal(len(dst))
	return e.b
}

// LoadCounts sets the counter that AppendCounts packed, and returns its key. It fails as DecodeItem
// does.
func (t *Counters) LoadCounts(data []byte) (CounterKey, error) {
	if len(data) == 0 {
		return CounterKey{}, ErrCorrupt
	}
	d := decoder{b: data}
	d.open(data[0], t.layoutHash)
	field, value, c := d.int(), d.string(), d.counts(&t.layout)
	var newcomers NewcomerCounts
	if data[0] == kindGlobal {
		newcomers = d.newcomers()
	}
	if err := d.done(); err != nil {
		return CounterKey{}, err
	}
	key := CounterKey{int(field), value}
	switch {
	case data[0] == kindGlobal:
		key = globalKey
		t.global, t.newcomers = c, newcomers
	case data[0] != kindValue || field < 0 || field >= int64(len(t.values)):
		return CounterKey{}, ErrCorrupt
	default:
		values := &t.values[field]
		known := values.byValue[value]
		if known == nil {
			known = t.create(key)
		}
		known.decayedCounts = c
		values.versions[known.id]++
	}
	return key, nil
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
