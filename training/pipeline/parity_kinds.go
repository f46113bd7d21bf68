package pipeline

import (
	"fmt"
	"slices"
	"strconv"

	"relish/features/event"
	"relish/ranker"
	"relish/training/modelcard"
)

// The kinds of lists in the parity table. A list may be of several kinds.
const (
	kindPlain       = "plain"
	kindLimited     = "limited"
	kindRules       = "rules removed items"
	kindInline      = "content in the request"
	kindExperiment  = "experiment"
	kindInterleaved = "interleaved"
	kindDegraded    = "degraded"
	kindBase        = "after a retention, erasure or snapshot"
	kindReplicas    = "several replicas"
)

// kindOrder is the order of the table's rows.
var kindOrder = []string{
	kindPlain, kindLimited, kindRules, kindInline, kindExperiment, kindInterleaved, kindDegraded,
	kindBase, kindReplicas,
}

// kindsOf returns the kinds of a list.
func kindsOf(imp *ranker.Impression, log *logHistory) (kinds []string) {
	add := func(kind string, is bool) {
		if is {
			kinds = append(kinds, kind)
		}
	}
	if s := imp.Scored; s != nil {
		add(kindLimited, s.Candidates-s.Removed > len(imp.Items))
		add(kindRules, s.Removed > 0)
		add(kindInline, len(s.Inline)+s.MissingInline > 0)
	}
	add(kindExperiment, len(imp.Experiments) > 0 && imp.Interleaved == nil)
	add(kindInterleaved, imp.Interleaved != nil)
	add(kindDegraded, isDegraded(imp))
	if kinds == nil {
		kinds = []string{kindPlain}
	}
	add(kindBase, log.opt.Base.At(imp.StateSeq) != nil)
	add(kindReplicas, len(log.opt.Logs) > 1)
	return kinds
}

// isDegraded reports whether something was missing when the list was scored. An explanation that is
// missing changes no matrix.
func isDegraded(imp *ranker.Impression) bool {
	return slices.ContainsFunc(imp.Degraded, func(name string) bool {
		return name != ranker.ExplainPartial
	})
}

// unreproducible returns why replay cannot compute a list's matrix, "" if it can.
func unreproducible(imp *ranker.Impression, by servedModel, log *logHistory) string {
	switch {
	case isDegraded(imp):
		return "the answer was degraded"
	case by.model == nil:
		return by.missing
	case by.model.Schema.Hash() != imp.SchemaHash && imp.Model == ranker.PriorVersion:
		return "the prior ranked it with the features of another configuration"
	case by.model.Schema.Hash() != imp.SchemaHash:
		return "the model that ranked it has other features now"
	case imp.StateHash == "":
		return "an earlier version ranked it and did not record its configuration of the state"
	case imp.StateHash != log.opt.State.FeatureHash():
		return "it was ranked with another state: or text: configuration, or by an earlier version"
	case !imp.Replayable && imp.Scored == nil:
		return "an earlier version recorded only a part of the list"
	case !imp.Replayable:
		return "the content in the request exceeded what an impression keeps"
	case log.lacks(imp):
		return "the log and its base lack what the server knew then"
	}
	return ""
}

// logHistory follows the logs, to know which lists replay must reproduce.
type logHistory struct {
	opt   *Options
	first map[string]uint64 // by replica: its first record
	next  map[string]uint64 // by replica: the sequence after its last record
	// erasedAt is the last sequence whose record is gone because its user was erased, in a single
	// log.
	erasedAt uint64
	replica  string // of the last record
}

func newLogHistory(opt *Options) *logHistory {
	return &logHistory{
		opt: opt, first: map[string]uint64{}, next: map[string]uint64{},
	}
}

// observe is called with each record.
func (l *logHistory) observe(rec *event.Record) {
	l.replica = rec.Replica
	switch next, known := l.next[rec.Replica]; {
	case !known:
		l.first[rec.Replica] = rec.Seq
	case rec.Seq > next && len(l.opt.Logs) == 1:
		l.erasedAt = rec.Seq - 1
	}
	l.next[rec.Replica] = rec.Seq + 1
}

// lacks reports whether the log begins after what the list of the last record was ranked with, and
// no base has it.
func (l *logHistory) lacks(imp *ranker.Impression) bool {
	return l.first[l.replica] > 1 && l.opt.Base.At(imp.StateSeq) == nil
}

// unsure returns why the matrix of the last record's list may differ although nothing is wrong, ""
// if it must be equal.
func (l *logHistory) unsure(imp *ranker.Impression) string {
	if len(l.opt.Logs) > 1 {
		return "each replica received the events of the others at its own time"
	}
	from := uint64(0)
	if base := l.opt.Base.At(imp.StateSeq); base != nil {
		from = base.Seq
	}
	if l.erasedAt > from {
		return "records of an erased user are gone"
	}
	return ""
}

// sortedKinds returns the kinds of the counted lists in the order of the table.
func (p *parity) sortedKinds() (kinds []string) {
	for _, kind := range kindOrder {
		if p.kinds[kind] != nil {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// table returns the parity table of the model card, nil if Relish ranked no list.
func (p *parity) table() *modelcard.Table {
	if p.all.lists == 0 {
		return nil
	}
	out := &modelcard.Table{
		Title: modelcard.ParityTable,
		Note: fmt.Sprintf("The feature matrix of each list that was served is computed again from "+
			"the log and compared bit for bit: at most the newest %d lists of each combination of "+
			"kinds. A list may be of several kinds.", maxParityLists),
		Head: []string{"kind", "lists", "compared", "equal", "different", "not reproducible"},
	}
	row := func(kind string, c *parityCount) {
		out.Rows = append(out.Rows, []string{
			kind, strconv.Itoa(c.lists), strconv.Itoa(c.equal + c.differing),
			strconv.Itoa(c.equal), strconv.Itoa(c.differing), strconv.Itoa(c.impossible),
		})
	}
	row("all", &p.all)
	for _, kind := range p.sortedKinds() {
		row(kind, p.kinds[kind])
	}
	return out
}
