package twotower

import (
	"math/rand/v2"
	"slices"

	"relish/training/signals"
)

// lengthBuckets are the lengths that training pads sequences to. Each costs a compiled graph.
var lengthBuckets = []int{6, 12, 30}

// paddedBatch are sequences of one length as the model is trained on them: at each place the item that is there,
// the one that comes next, and how much it counts, 0 where there is none.
type paddedBatch struct {
	length, batch int // padded; sequences per step
	items, next   []int32
	weight        []float32
	skipped       []int32 // per place, cfg.Skipped of them, padded with next's own item
}

// sequenceStep is one thing a user did, with what he was shown beside it and passed over.
type sequenceStep struct {
	signals.Interaction
	skipped []int32
}

// userSequence is a user's steps as the model reads them: an item that repeats the one before it counts once, with the
// larger gain, as in serving. A list that was shown is tied to the first step that took one of its items and is not
// tied to an earlier list.
func userSequence(u *signals.UserHistory) []sequenceStep {
	out := make([]sequenceStep, 0, len(u.Interactions))
	for _, s := range u.Interactions {
		if n := len(out); n > 0 && out[n-1].Item == s.Item {
			out[n-1].Gain = max(out[n-1].Gain, s.Gain)
			continue
		}
		out = append(out, sequenceStep{Interaction: s})
	}
	if len(u.Lists) == 0 {
		return out
	}
	waiting := map[int32][]int{} // item -> its steps
	for i, s := range out {
		waiting[s.Item] = append(waiting[s.Item], i)
	}
	for _, l := range u.Lists {
		var skipped []int32
		for k, item := range l.Items {
			if item >= 0 && l.Gains[k] <= 0 {
				skipped = append(skipped, item)
			}
		}
		for k, item := range l.Items {
			if at := waiting[item]; l.Gains[k] > 0 && len(at) > 0 {
				out[at[0]].skipped = skipped
				waiting[item] = at[1:]
			}
		}
	}
	return out
}

// heldOutUser is a user whose last step is kept for validation.
type heldOutUser struct {
	history []int32 // oldest first
	next    int32
}

// splitValidation keeps the last step of a share of the users, drawn at random, for validation, and cuts all the rest into
// windows that fit the model. Users with fewer than three steps are not drawn: nothing of them would be left to
// learn from.
func splitValidation(c *signals.Corpus, cfg *Config) (train [][]sequenceStep, valid []heldOutUser) {
	r := rand.New(rand.NewPCG(cfg.Seed, 1))
	for u := range c.Users {
		seq := userSequence(&c.Users[u])
		if draw := r.Float64() < cfg.HoldoutShare; draw && len(seq) > 2 {
			last := len(seq) - 1
			h := heldOutUser{next: seq[last].Item}
			for _, s := range seq[max(0, last-cfg.HistoryLength):last] {
				h.history = append(h.history, s.Item)
			}
			valid = append(valid, h)
			seq = seq[:last]
		}
		train = append(train, cutWindows(seq, cfg.HistoryLength)...)
	}
	return train, valid
}

// cutWindows makes windows of length+1 steps, from the end, of which all but the first are foretold. Each ends with the
// step that the next begins with.
func cutWindows(seq []sequenceStep, length int) (out [][]sequenceStep) {
	for end := len(seq); end > 1; end -= length {
		w := seq[max(0, end-length-1):end]
		if slices.ContainsFunc(w[1:], func(s sequenceStep) bool { return s.Gain > 0 }) {
			out = append(out, w)
		}
	}
	return out
}

// lengthBucket is the padded length for n places.
func lengthBucket(n, limit int) int {
	for _, b := range lengthBuckets {
		if n <= b && b <= limit {
			return b
		}
	}
	return limit
}

// packEpoch shuffles the windows and packs them into batches, of one padded length each, in random order.
func packEpoch(windows [][]sequenceStep, cfg *Config, skipped int, r *rand.Rand) []*paddedBatch {
	order := r.Perm(len(windows))
	open := map[int]*paddedBatch{}
	var out []*paddedBatch
	for _, i := range order {
		steps := windows[i]
		length := lengthBucket(len(steps)-1, cfg.HistoryLength)
		p := open[length]
		if p == nil {
			p = newPaddedBatch(length, max(1, cfg.BatchPositions/length), skipped)
			open[length] = p
			out = append(out, p)
		}
		if p.add(steps, skipped, r) {
			delete(open, length)
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	for _, p := range out {
		p.fill(skipped)
	}
	return out
}

func newPaddedBatch(length, batch, skipped int) *paddedBatch {
	n := length * batch
	return &paddedBatch{
		length:  length,
		batch:   batch,
		items:   make([]int32, 0, n),
		next:    make([]int32, 0, n),
		weight:  make([]float32, 0, n),
		skipped: make([]int32, 0, n*skipped),
	}
}

// add appends one window, padded at its end, and tells whether the batch is full. Of many skipped items it
// takes some at random.
func (p *paddedBatch) add(steps []sequenceStep, skipped int, r *rand.Rand) (full bool) {
	for i := range p.length {
		if i+1 >= len(steps) {
			p.pad(1, skipped)
			continue
		}
		next := steps[i+1]
		p.items, p.next, p.weight = append(p.items,
			steps[i].Item), append(p.next, next.Item), append(p.weight, next.Gain)
		shown := next.skipped
		for k := range skipped {
			switch {
			case k >= len(shown):
				p.skipped = append(p.skipped, next.Item)
			case len(shown) <= skipped:
				p.skipped = append(p.skipped, shown[k])
			default:
				p.skipped = append(p.skipped, shown[r.IntN(len(shown))])
			}
		}
	}
	return len(p.items) == p.length*p.batch
}

func (p *paddedBatch) pad(n, skipped int) {
	p.items, p.next = append(p.items, make([]int32, n)...), append(p.next, make([]int32, n)...)
	p.weight, p.skipped = append(
		p.weight,
		make([]float32, n)...), append(
		p.skipped,
		make([]int32, n*skipped)...)
}

// fill pads a batch that stayed open.
func (p *paddedBatch) fill(skipped int) { p.pad(p.length*p.batch-len(p.items), skipped) }
