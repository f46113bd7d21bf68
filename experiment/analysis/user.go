package analysis

import (
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// maxSegments bounds the context fields that are looked at; maxValues the values told apart in each,
// by first come, the rest being "other". Both keep a user small.
const (
	maxSegments = 3
	maxValues   = 30
)

// maxOpenLists is how many of his last lists a user can still click in. A click on an older one is
// counted as unmatched.
const maxOpenLists = 8

// phase is what a list's clicks count for.
type phase uint8

const (
	preExposure phase = iota // the first exposure: CUPED's covariate
	counted                  // an exposed list in the window
	ignored                  // later, but not exposed or outside of the window
)

// user is what is kept of one unit, beside its counts.
type user struct {
	arm        int16 // noArm before the first exposure
	crossed    bool  // seen in two arms
	inWindow   bool  // has a counted list
	known      bool  // did something before the first exposure
	model      uint8 // of the first exposure, as are degraded and segments
	answer     uint8
	allocation uint8
	firstDay   int32
	day        int32 // the day whose counts are open
	segments   [maxSegments]uint8
	oldest     uint8 // in open, once it is full
	open       []openList
	credit     [2]float32 // interleaving: clicks on each team's items
}

const noArm = -1

// openList is one impression that can still be clicked.
type openList struct {
	id      uint64 // hash of the impression's id
	phase   phase
	content *content // nil unless the report needs it
}

// content is what was shown, by hash, and what was clicked of it, by place.
type content struct {
	items   []uint32
	teams   []uint8 // aligned with items; nil without interleaving
	clicked []uint16
}

func newContent(shown []string, teams []uint8) *content {
	w := &content{items: make([]uint32, len(shown)), teams: teams}
	for k, id := range shown {
		w.items[k] = uint32(xxhash.Sum64String(id))
	}
	return w
}

// addList keeps a list in place of the oldest one.
func (u *user) addList(l openList) {
	if len(u.open) < maxOpenLists {
		u.open = append(u.open, l)
		return
	}
	u.open[u.oldest] = l
	u.oldest = (u.oldest + 1) % maxOpenLists
}

// findList returns the open list of an impression's id hash, or nil.
func (u *user) findList(id uint64) *openList {
	for i := range u.open {
		if u.open[i].id == id {
			return &u.open[i]
		}
	}
	return nil
}

// click marks an item as clicked, and returns its place and by how much the list's NDCG@10 has grown;
// first tells that the list had no click before. A second click on an item changes nothing.
func (c *content) click(item uint32) (place int, grown float64, first, ok bool) {
	place = slices.Index(c.items, item)
	if place < 0 || slices.Contains(c.clicked, uint16(place)) {
		return 0, 0, false, false
	}
	was := c.ndcg()
	c.clicked = append(c.clicked, uint16(place))
	return place, c.ndcg() - was, len(c.clicked) == 1, true
}

// ndcg is NDCG@10 with a gain of 1 for what was clicked; 0 without a click.
func (c *content) ndcg() float64 {
	var got, best float64
	for n, place := range c.clicked {
		if place < ndcgCutoff {
			got += discount(int(place))
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

func discount(place int) float64 { return 1 / math.Log2(float64(place)+2) }

// nameTable numbers strings in the order they come. Beyond its limit all are the last one, "other".
type nameTable struct {
	index map[string]int
	list  []string
	limit int
}

func newNameTable(limit int) *nameTable { return &nameTable{index: map[string]int{}, limit: limit} }

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
