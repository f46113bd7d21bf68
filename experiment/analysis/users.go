package analysis

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"relish/ranker"
)

const (
	// maxSegments bounds the context fields that a report uses.
	maxSegments = 3
	// maxValues bounds the values that are distinguished in each. Values that come later are
	// "other".
	maxValues = 30
)

// maxOpenLists is how many of a user's last lists can still be clicked. A click on an older one is
// counted as unmatched.
const maxOpenLists = 8

// phase says what an action counts for.
type phase uint8

const (
	preExposure phase = iota // before the first exposure: the covariate of CUPED
	counted                  // an exposed list in the window
	ignored                  // after the first exposure, but for no exposed list in the window
)

// user is what is kept of one user or session beside the counts. It is small, since there is one
// for each.
type user struct {
	arm      int16 // noArm before the first exposure
	crossed  bool  // seen in two arms
	inWindow bool  // has a counted list
	known    bool  // did something before the first exposure

	// What was true at the first exposure in the window, as numbers of the collector's name tables.
	model, answer, allocation uint8
	segments                  [maxSegments]uint8

	firstDay int32 // of exposure, in days since 1970
	day      int32 // the open day, which dayPeriod counts

	open   []openList // a ring buffer of the last lists
	oldest uint8      // index of the oldest list once open is full

	credit [2]float32 // interleaving: clicks on the items of each arm
}

const noArm = -1

// openList is an impression that can still be clicked.
type openList struct {
	id      uint64 // hash of the impression id
	phase   phase
	content *content // nil unless the report needs it
}

// content holds the items of a list, by hash, and the positions that were clicked.
type content struct {
	items   []uint32
	teams   []uint8 // aligned with items; nil without interleaving
	clicked []uint16
}

func newContent(shown []string, teams []uint8) *content {
	c := &content{items: make([]uint32, len(shown)), teams: teams}
	for k, id := range shown {
		c.items[k] = uint32(xxhash.Sum64String(id))
	}
	return c
}

// addList keeps a list. Beyond maxOpenLists it replaces the oldest one.
func (u *user) addList(l openList) {
	if len(u.open) < maxOpenLists {
		u.open = append(u.open, l)
		return
	}
	u.open[u.oldest] = l
	u.oldest = (u.oldest + 1) % maxOpenLists
}

// findList returns the open list with this impression id hash, or nil.
func (u *user) findList(id uint64) *openList {
	for i := range u.open {
		if u.open[i].id == id {
			return &u.open[i]
		}
	}
	return nil
}

// click marks an item as clicked. It returns the item's position, by how much the list's NDCG@10
// has grown, and whether the click is the list's first. A second click on an item changes nothing.
func (c *content) click(item uint32) (position int, gain float64, first, ok bool) {
	position = slices.Index(c.items, item)
	if position < 0 || slices.Contains(c.clicked, uint16(position)) {
		return 0, 0, false, false
	}
	before := c.ndcg()
	c.clicked = append(c.clicked, uint16(position))
	return position, c.ndcg() - before, len(c.clicked) == 1, true
}

// ndcg returns NDCG@10 with gain 1 for each clicked item, 0 without a click.
func (c *content) ndcg() float64 {
	var got, best float64
	for n, position := range c.clicked {
		if position < ndcgCutoff {
			got += discount(int(position))
		}
		if n < ndcgCutoff {
			best += discount(n)
		}
	}
	if best == 0 {
		return 0
	}
	return got / best
}

const ndcgCutoff = 10

func discount(position int) float64 { return 1 / math.Log2(float64(position)+2) }

// nameTable numbers names in order of first use. Beyond the limit, all further names share the last
// number, "other".
type nameTable struct {
	index map[string]int
	list  []string
	limit int
}

func newNameTable(limit int) *nameTable { return &nameTable{index: map[string]int{}, limit: limit} }

// id returns the number of a name.
func (n *nameTable) id(s string) int {
	if i, ok := n.index[s]; ok {
		return i
	}
	if n.limit > 0 && len(n.list) >= n.limit {
		if last := n.limit - 1; n.list[last] != otherValue {
			n.list[last] = otherValue
		}
		return n.limit - 1
	}
	i := len(n.list)
	n.index[s] = i
	n.list = append(n.list, s)
	return i
}

// otherValue stands for all values beyond a limit.
const otherValue = "other"

// assignedArm returns the arm for which the impression counts, and whether the user was exposed to
// the experiment.
//
// A list that control served in place of an arm counts for that arm (intention to treat): leaving
// out the arm's difficult lists would compare unlike lists. An impression that Relish did not
// record counts as exposed.
func assignedArm(e *ranker.Event, experiment string) (arm string, exposed bool) {
	arm, exposed = e.Impression.Experiments[experiment]
	if e.Impression.Served {
		if intended, ok := e.Impression.Fallback[experiment]; ok {
			return intended, true
		}
		exposed = exposed && slices.Contains(e.Impression.Exposed, experiment)
	}
	return arm, exposed
}

// expose records that user i was exposed to the arm, and at the first exposure in the window also
// its circumstances.
func (c *collector) expose(i int, arm string, e *ranker.Event, at int64, inWindow bool) error {
	u := &c.users[i]
	if n := c.arms.id(arm); n > maxArms {
		return fmt.Errorf("experiment %s has more than %d arms in the log; "+
			"the log must be damaged or hold events of another service", c.opt.Experiment, maxArms)
	} else if u.arm == noArm {
		u.arm = int16(n)
		u.known = anyNonZero(c.countsOf(i, prePeriod))
	} else if int(u.arm) != n && c.interleavedArms[0] == "" { // interleaving shows both arms
		u.crossed = true
	}
	if !inWindow || u.inWindow {
		return nil
	}
	u.inWindow = true
	u.firstDay = dayOf(at)
	u.day = u.firstDay
	u.model = uint8(c.models.id(e.Impression.Model))
	u.allocation = uint8(c.allocations.id(e.Impression.ExperimentsVersion))
	u.answer = uint8(c.answers.id(answerQuality(e, c.opt.Experiment)))
	for k, field := range c.opt.Segments {
		u.segments[k] = uint8(c.segments[k].id(fieldText(e.Impression.Context[field])))
	}
	return nil
}

// maxArms bounds what a damaged log can allocate.
const maxArms = 64

// answerQuality names the worst degradation of an answer.
func answerQuality(e *ranker.Event, experiment string) string {
	switch {
	case !e.Impression.Served:
		return "not recorded by the service"
	case e.Impression.Fallback[experiment] != "":
		return "served by control"
	case len(e.Impression.Degraded) == 0:
		return "full answer"
	}
	for _, worst := range []string{ranker.InputOrder, ranker.ScorerFallback} {
		if slices.Contains(e.Impression.Degraded, worst) {
			return worst
		}
	}
	return e.Impression.Degraded[len(e.Impression.Degraded)-1]
}

// fieldText returns a context field's value as a segment's name.
func fieldText(v ranker.FieldValue) string {
	switch v.Kind {
	case ranker.NoValue:
		return "none"
	case ranker.String:
		if len(v.Str) > 40 {
			return otherValue
		}
		return v.Str
	}
	return strings.Trim(fmt.Sprint(v), `"`)
}
