package features

import (
	"maps"

	"relish/features/event"
	"relish/ranker"
)

// Content is an item's content in the form that extraction reads. It is immutable and shared.
type Content struct {
	Info *ranker.ItemInfo // nil: nobody has described the item
	// Hash identifies the packed content. It is 0 without Info, and until AppendContent computes
	// it.
	Hash uint64

	cache *itemCache // may be nil without Info
}

func (t *Counters) content(item ranker.Item) Content {
	return Content{Info: ranker.NewItemInfo(item, t.cfg.Text), cache: &itemCache{}}
}

// fieldOf returns an item's field. "tags" is the item's tags unless a field has that name.
func fieldOf(info *ranker.ItemInfo, name string) (ranker.FieldValue, bool) {
	v, ok := info.Field(name)
	if !ok && name == partTags {
		tags := info.Tags()
		return ranker.StringsValue(tags), tags != nil
	}
	return v, ok
}

// The parts of an item. They name the item's own parts in ItemState.times; a field stands there
// with a "." before its name.
const (
	partTitle = "title"
	partText  = "text"
	partTags  = "tags"
)

// applyItem merges an item event into the item's content. For each part the newest event time wins;
// at equal times the later arrival wins. With Replace the event takes the place of all parts.
func (s *State) applyItem(rec *event.Record) *ranker.ItemInfo {
	e := &rec.Event
	it := s.item(e.ItemID, rec)
	content := ranker.Item{ID: it.sharedID(e.ItemID)}
	switch {
	case e.Replace:
		if it.Info != nil && e.Time < it.newest() {
			return nil
		}
		it.times = nil
		setContent(&content, e)
		it.time = e.Time
	case it.Info == nil:
		setContent(&content, e)
		it.time = e.Time
	default:
		content = it.Info.Item()
		it.mergeItem(&content, e)
	}
	it.Content = s.content(content)
	return it.Info
}

func setContent(to *ranker.Item, e *ranker.Event) {
	if e.Title != nil {
		to.Title = *e.Title
	}
	if e.Text != nil {
		to.Text = *e.Text
	}
	to.Tags, to.Fields = e.Tags, e.Fields
}

// newest returns the newest event time of the item's parts.
func (it *ItemState) newest() int64 {
	t := it.time
	for _, at := range it.times {
		t = max(t, at)
	}
	return t
}

func (it *ItemState) mergeItem(content *ranker.Item, e *ranker.Event) {
	wins := func(part string, known bool) bool {
		at, ok := it.times[part]
		if !ok {
			at = it.time
		}
		if known && e.Time < at {
			return false
		}
		if it.times == nil {
			it.times = map[string]int64{}
		}
		it.times[part] = e.Time
		return true
	}
	if e.Title != nil && wins(partTitle, content.Title != "") {
		content.Title = *e.Title
	}
	if e.Text != nil && wins(partText, content.Text != "") {
		content.Text = *e.Text
	}
	if e.Tags != nil && wins(partTags, content.Tags != nil) {
		content.Tags = e.Tags
	}
	if len(e.Fields) == 0 {
		return
	}
	fields := cloneFields(content.Fields)
	for name, v := range e.Fields {
		if _, known := fields[name]; wins("."+name, known) {
			fields[name] = v
		}
	}
	content.Fields = fields
}

// mergeFields sets the fields whose event time t is not older than the known one. It replaces the
// map and leaves the old one as it is, because readers may hold it.
func mergeFields(
	fields *map[string]ranker.FieldValue,
	times *map[string]int64,
	add map[string]ranker.FieldValue,
	t int64,
) {
	if len(add) == 0 {
		return
	}
	merged := cloneFields(*fields)
	if *times == nil {
		*times = map[string]int64{}
	}
	for name, v := range add {
		if at, known := (*times)[name]; !known || t >= at {
			merged[name], (*times)[name] = v, t
		}
	}
	*fields = merged
}

// InlineInfo returns the item as a ranking sees it if the request brings inline content.
func (s *State) InlineInfo(id string, inline *ranker.Item) *ranker.ItemInfo {
	return inlineInfo(id, s.Item(id), inline, s.cfg.Text)
}

func inlineInfo(
	id string, stored *ranker.ItemInfo, inline *ranker.Item, text ranker.TextSpec,
) *ranker.ItemInfo {
	merged := *inline
	merged.ID = id
	if stored != nil {
		merged = mergeInline(stored.Item(), inline)
	}
	info := ranker.NewItemInfo(merged, text)
	info.Transient = stored == nil || stored.TextKey != info.TextKey
	return info
}

// mergeInline returns the stored item with the parts that a request's inline content sets.
func mergeInline(stored ranker.Item, inline *ranker.Item) ranker.Item {
	if inline.Title != "" {
		stored.Title = inline.Title
	}
	if inline.Text != "" {
		stored.Text = inline.Text
	}
	if inline.Tags != nil {
		stored.Tags = inline.Tags
	}
	if len(inline.Fields) > 0 {
		stored.Fields = cloneFields(stored.Fields)
		maps.Copy(stored.Fields, inline.Fields)
	}
	return stored
}

// cloneFields returns a copy that can be written to, empty for nil.
func cloneFields(fields map[string]ranker.FieldValue) map[string]ranker.FieldValue {
	if fields == nil {
		return map[string]ranker.FieldValue{}
	}
	return maps.Clone(fields)
}
