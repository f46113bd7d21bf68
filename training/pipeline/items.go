package pipeline

import (
	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/training/replay"
)

// itemReplay follows the contents of the items, and the external tables in use, through the log.
type itemReplay struct {
	state *features.State // has items and tables only, or what a base has
	base  replay.BaseSwitch
}

func newItemReplay(cfg features.Config, base *replay.Base) *itemReplay {
	return &itemReplay{state: features.New(cfg), base: base.Switch()}
}

// observe takes the next record. It returns the items whose text a replay reads from this record
// on: the described item, all items of a base that begins here, and if inline is set those whose
// content came with the request of an impression.
func (r *itemReplay) observe(
	rec *event.Record, inline bool,
) (infos []*ranker.ItemInfo, err error) {
	from, err := r.base.Take(rec)
	if err != nil {
		return nil, err
	}
	if from != nil {
		r.state.Restore(from)
		infos = r.state.Items()
	}
	e := &rec.Event
	switch {
	case e.Kind == ranker.EventItem, e.Kind == ranker.EventDelete, e.Kind == ranker.EventTable:
		if info := r.state.Apply(rec); info != nil {
			infos = append(infos, info)
		}
	case inline && e.Kind == ranker.EventImpression && e.Impression.Scored != nil:
		for i := range e.Impression.Scored.Inline {
			item := &e.Impression.Scored.Inline[i]
			infos = append(infos, r.state.InlineInfo(item.ID, item))
		}
	}
	return infos, nil
}
