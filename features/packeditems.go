package features

import "relish/ranker"

// A checkpoint has an item's content in the form in which the memory has it, together with what was
// computed of its text. So a start composes no text and finds no terms.

// appendPackedItem packs an item whose last event was seen later by the time idle, ms. The content
// comes last, and only an item that is described has it.
func (t *Counters) appendPackedItem(dst []byte, it *ItemState, idle int64) []byte {
	e := encoder{dst}
	e.begin(kindPackedItem, t.layoutHash)
	e.string(it.id)
	e.itemRest(it, idle)
	if it.Info != nil {
		e.b = it.Info.AppendPacked(e.b)
	}
	e.seal(len(dst))
	return e.b
}

// decodePackedItem reads what appendPackedItem wrote. oldTokens says that an earlier version wrote
// it, which had other tokens.
func (t *Counters) decodePackedItem(
	data []byte, oldTokens bool,
) (id string, it *ItemState, err error) {
	d := decoder{b: data}
	d.open(kindPackedItem, t.layoutHash)
	it, id = &ItemState{}, d.string()
	d.itemRest(it, &t.layout)
	if d.err != nil || len(d.b) == 0 {
		return id, it, d.err
	}
	info, err := ranker.UnpackItemInfo(id, d.b, t.cfg.Text)
	if err != nil {
		return id, it, ErrCorrupt
	}
	if oldTokens {
		info = ranker.NewItemInfo(info.Item(), t.cfg.Text)
	}
	it.Content = Content{Info: info, cache: &itemCache{}}
	return id, it, nil
}
