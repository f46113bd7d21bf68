package pipeline

import (
	"maps"
	"slices"
	"strings"
	"time"

	"relish/training/modelcard"
)

// addLog describes the events that were read.
func addLog(d *modelcard.Data, r *results) {
	log, all := r.final.Log, r.parity.all
	d.Log = &modelcard.Log{
		From: unixMillis(log.From), To: unixMillis(log.To),
		ParityChecked: all.equal + all.differing, ParityDiffering: all.differing,
	}
	add := func(name string, n int) {
		d.Log.Counts = append(d.Log.Counts, modelcard.Count{Name: name, N: n})
	}
	add("users", log.Users.Len())
	add("items", log.Items.Len())
	add("lists shown", log.DroppedLists+len(log.Lists))
	add("lists with a click", log.ClickedLists)
	add("lists that the scorer was trained on", r.final.Lists)
	for _, kind := range slices.Sorted(maps.Keys(log.Counts)) {
		add("events: "+string(kind), log.Counts[kind])
	}
	for _, action := range slices.Sorted(maps.Keys(log.Actions)) {
		add("interactions: "+action, log.Actions[action])
	}
	if log.LateFollowUps > 0 {
		add("follow-ups too late for their list", log.LateFollowUps)
	}
	for _, l := range r.plan.scan.incomplete {
		warn(d, false, "The log %s ends with %d bytes that are not a complete record. They were "+
			"left out. A crash cut the log, or a server was just writing: compare the counts of "+
			"events under Data with what was sent.", l.dir, l.bytes)
	}
	if n := r.plan.scan.source.conflicts; n > 0 {
		warn(d, false, "Events that were left out, because another replica's log has another one "+
			"with the same id: %d. Ids must be unique: see the senders of these events.", n)
	}
	byUser := map[int32]int{}
	for i := range log.Interactions {
		byUser[log.Interactions[i].User]++
	}
	d.Log.Distributions = []modelcard.Distribution{
		newDistribution("interactions per user", slices.Collect(maps.Values(byUser))),
	}
	addParity(d, r.parity)
}

// addParity shows which served lists replay computes again, and why it cannot for the others.
func addParity(d *modelcard.Data, p *parity) {
	if table := p.table(); table != nil {
		d.Tables = append(d.Tables, *table)
	}
	for _, reason := range slices.Sorted(maps.Keys(p.reasons)) {
		note(d, "%d of %d served lists cannot be computed again: %s.", p.reasons[reason],
			p.all.lists, reason)
	}
	if p.all.lists > 0 && p.all.equal+p.all.differing == 0 {
		note(d, "No served list could be computed again, so this training cannot tell whether it "+
			"learns from the values that are served.")
	}
	if len(p.columns) > 0 {
		warn(d, p.all.mismatch() > maxMismatch, "Columns that differ from the served ones: %s.",
			strings.Join(p.columnCounts(), ", "))
	}
}

// newDistribution makes a histogram whose bins double in width.
func newDistribution(name string, values []int) modelcard.Distribution {
	out := modelcard.Distribution{Name: name, Edges: []float64{0}}
	largest := 1
	for _, v := range values {
		largest = max(largest, v)
	}
	for edge := 1; ; edge *= 2 {
		out.Edges, out.Counts = append(out.Edges, float64(edge)), append(out.Counts, 0)
		if edge > largest {
			break
		}
	}
	for _, v := range values {
		at, found := slices.BinarySearch(out.Edges, float64(v))
		if !found {
			at--
		}
		out.Counts[at]++
	}
	return out
}

func unixMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
