package training

import (
	"slices"

	"relish/ranker"
	"relish/ranker/bundle"
)

// maxProbeRecent is the length of the history that a probe makes up.
const maxProbeRecent = 16

// probeList is one of the newest lists, from which syntheticProbes takes items and values.
type probeList struct {
	input   *ranker.SignalInput
	columns []float32 // raw
}

// addProbe keeps the newest lists.
func (d *dataset) addProbe(in *ranker.SignalInput, columns []float32) {
	d.newest = append(d.newest, probeList{in, columns})
	d.newest = d.newest[max(0, len(d.newest)-bundle.MaxProbeCases):]
}

// probes makes the lists that a bundle records with their scores. A bundle outlives the erasure of
// a user, so nothing in them belongs to one. The candidates are items of the catalogue as some list
// had them. The user is made up: the history and the search text come from another list's items,
// and each column of features comes from another list than the next one.
func (d *dataset) probes() (out []*ranker.SignalInput) {
	for i := range d.newest {
		out = append(out, d.syntheticProbe(i))
	}
	return out
}

func (d *dataset) syntheticProbe(i int) *ranker.SignalInput {
	list, other := d.newest[i].input, d.newest[(i+1)%len(d.newest)].input
	n := len(list.Request.Candidates)
	request := &ranker.Request{Candidates: slices.Clone(list.Request.Candidates)}
	for c := range request.Candidates {
		request.Candidates[c].Inline = nil
	}
	state := &ranker.RequestState{Counts: list.State.Counts, ItemsRead: list.State.ItemsRead}
	state.Columns = d.mixColumns(i, n)
	in := &ranker.SignalInput{Request: request, State: state, Now: list.Now}
	state.Items, in.ItemVectors = catalogueOnly(list)
	items, vectors := catalogueOnly(other)
	action := ""
	for _, l := range d.newest {
		for _, a := range l.input.State.Recent {
			action = max(action, a.Action) // any one that is counted, the same in each training
		}
	}
	const hour = 3_600_000
	for c, it := range items {
		if it == nil || len(state.Recent) == maxProbeRecent {
			continue
		}
		at := in.Now - int64(len(state.Recent)+1)*hour
		state.Shown = append(state.Shown, ranker.Shown{Item: it.ID, Time: at - hour})
		if action == "" {
			continue
		}
		state.Recent = append(state.Recent, ranker.Interaction{
			Item: it.ID, Action: action, Time: at, Value: 1,
		})
		state.RecentItems = append(state.RecentItems, it)
		in.RecentVectors = append(in.RecentVectors, vectors[c])
		if list.Query != nil && in.Query == nil {
			in.Query = ranker.NewItemInfo(ranker.Item{Title: it.Title()}, ranker.TextSpec{"title"})
			in.QueryVector = vectors[c]
		}
	}
	return in
}

// catalogueOnly returns a list's items and their vectors. An item with content that came with the
// request counts as unknown.
func catalogueOnly(list *ranker.SignalInput) (items []*ranker.ItemInfo, vectors [][]float32) {
	n := len(list.Request.Candidates)
	items, vectors = slices.Clone(list.State.Items[:n]), slices.Clone(list.ItemVectors[:n])
	for i, c := range list.Request.Candidates {
		if c.Inline != nil {
			items[i], vectors[i] = nil, nil
		}
	}
	return items, vectors
}

// mixColumns returns raw feature columns for the n candidates of list i. Each column has the values
// of another list.
func (d *dataset) mixColumns(i, n int) []float32 {
	out := make([]float32, 0, n*d.width)
	for row := range n {
		for column := range d.width {
			from := d.newest[(i+column)%len(d.newest)].columns
			rows := len(from) / d.width
			out = append(out, from[row%rows*d.width+column])
		}
	}
	return out
}
