package twotower

import (
	"math/rand/v2"
	"slices"

	"relish/training/signals"
)

// lengthBuckets are the lengths that sequences are padded to. Each length needs a compiled graph.
var lengthBuckets = []int{6, 12, 30}

// paddedBatch holds sequences of one padded length. Each position has an item, the item that came
// next, and the weight of this pair, which is 0 for padding.
type paddedBatch struct {
	length, batch int // padded length; sequences of one step
	items, next   []int32
	weight        []float32
	skipped       []int32 // MaxSkipped items for each position, padded with the next item itself
}

// sequenceStep is one interaction, with the items that the user was shown beside it and skipped.
type sequenceStep struct {
	signals.Interaction
	skipped []int32
}

// userSequence returns a user's interactions as the model reads them. As in serving, consecutive
// interactions with one item count once, with the largest gain.
//
// A shown list belongs to the first interaction with one of its taken items that has no earlier
// list. The items of the list that were not taken become the skipped items of this interaction.
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
	unassigned := map[int32][]int{} // item -> its interactions without a list
	for i, s := range out {
		unassigned[s.Item] = append(unassigned[s.Item], i)
	}
	for _, l := range u.Lists {
		var skipped []int32
		for k, item := range l.Items {
			if item >= 0 && l.Gains[k] <= 0 {
				skipped = append(skipped, item)
			}
		}
		for k, item := range l.Items {
			if at := unassigned[item]; l.Gains[k] > 0 && len(at) > 0 {
				out[at[0]].skipped = skipped
				unassigned[item] = at[1:]
			}
		}
	}
	return out
}

// heldOutUser is a user whose last interaction is held out for validation.
type heldOutUser struct {
	history []int32 // oldest first
	next    int32
}

// wantedHeldOut is how many users are held out if HoldoutShare of them is less. The choice of an
// epoch, and whether the model is of use, would otherwise hang on a few users.
const wantedHeldOut = 300

// holdoutShare returns the share of the users that are held out, of those that can be.
func (c *Config) holdoutShare(possible int) float64 {
	if c.HoldoutShare == 0 {
		return 0
	}
	return max(c.HoldoutShare, min(0.5, wantedHeldOut/float64(max(1, possible))))
}

// splitValidation holds out the last interaction of a random share of the users. It cuts everything
// else into training windows. Users with fewer than three interactions are not held out, because
// nothing to learn from would remain.
func splitValidation(c *signals.Corpus, cfg *Config) (train [][]sequenceStep, valid []heldOutUser) {
	sequences, possible := make([][]sequenceStep, len(c.Users)), 0
	for u := range c.Users {
		sequences[u] = userSequence(&c.Users[u])
		if len(sequences[u]) > 2 {
			possible++
		}
	}
	share, r := cfg.holdoutShare(possible), rand.New(rand.NewPCG(cfg.Seed, 1))
	for _, seq := range sequences {
		if drawn := r.Float64() < share; drawn && len(seq) > 2 {
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

// cutWindows cuts a sequence into windows of at most length+1 interactions, from its end. All but
// the first interaction of a window are targets. Each window ends with the interaction that the
// next one starts with.
func cutWindows(seq []sequenceStep, length int) (out [][]sequenceStep) {
	for end := len(seq); end > 1; end -= length {
		w := seq[max(0, end-length-1):end]
		if slices.ContainsFunc(w[1:], func(s sequenceStep) bool { return s.Gain > 0 }) {
			out = append(out, w)
		}
	}
	return out
}

// lengthBucket returns the padded length for n positions.
func lengthBucket(n, limit int) int {
	for _, b := range lengthBuckets {
		if n <= b && b <= limit {
			return b
		}
	}
	return limit
}

// packEpoch shuffles the windows and packs them into batches. Each batch has one padded length, and
// the batches have a random order.
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

// add appends one window with padding, and reports whether the batch is full. If a position has too
// many skipped items, it draws some at random.
func (p *paddedBatch) add(steps []sequenceStep, skipped int, r *rand.Rand) (full bool) {
	for i := range p.length {
		if i+1 >= len(steps) {
			p.pad(1, skipped)
			continue
		}
		next := steps[i+1]
		p.items, p.next = append(p.items, steps[i].Item), append(p.next, next.Item)
		p.weight = append(p.weight, next.Gain)
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
	p.weight = append(p.weight, make([]float32, n)...)
	p.skipped = append(p.skipped, make([]int32, n*skipped)...)
}

// fill pads a batch that is not full.
func (p *paddedBatch) fill(skipped int) { p.pad(p.length*p.batch-len(p.items), skipped) }
