package twotower

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"relish/training/signals"
)

func steps(items ...int32) (out []sequenceStep) {
	for _, i := range items {
		out = append(out, sequenceStep{Interaction: signals.Interaction{Item: i, Gain: 1}})
	}
	return out
}

func TestUserSequence(t *testing.T) {
	u := &signals.UserHistory{
		Interactions: []signals.Interaction{
			{Item: 1, Gain: 1},
			{Item: 1, Gain: 5},
			{Item: 2, Gain: 1},
			{Item: 1, Gain: 1},
		},
		Lists: []signals.List{
			{Items: []int32{7, 1, -1}, Gains: []float32{0, 1, 0}},
			// belongs to the first interaction with 1
			{Items: []int32{1, 8}, Gains: []float32{1, 0}},
			// belongs to the second interaction with 1
			{Items: []int32{1, 9}, Gains: []float32{1, 0}}, // no interaction with 1 is left
			{Items: []int32{2, 9}, Gains: []float32{0, 0}}, // nothing was taken
		},
	}
	got := userSequence(u)
	want := []sequenceStep{
		{signals.Interaction{Item: 1, Gain: 5}, []int32{7}},
		{signals.Interaction{Item: 2, Gain: 1}, nil},
		{signals.Interaction{Item: 1, Gain: 1}, []int32{8}},
	}
	if !slices.EqualFunc(got, want, func(a, b sequenceStep) bool {
		return a.Interaction == b.Interaction && slices.Equal(a.skipped, b.skipped)
	}) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// In each epoch, every interaction except a user's first is a target exactly once, for any lengths.
// Its item is the one before it.
func TestEpochHasEachTargetOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 30 {
		cfg := &Config{HistoryLength: 1 + r.IntN(40), BatchPositions: 1 + r.IntN(100)}
		var windows [][]sequenceStep
		want, before := map[int32]int{}, map[int32]int32{}
		item := int32(0)
		for range 1 + r.IntN(20) {
			var seq []sequenceStep
			for k := range r.IntN(100) {
				if k > 0 {
					want[item], before[item] = 1, item-1
				}
				seq = append(seq, steps(item)...)
				item++
			}
			item++ // the next user's first item follows no item
			windows = append(windows, cutWindows(seq, cfg.HistoryLength)...)
		}
		got := map[int32]int{}
		for _, p := range packEpoch(windows, cfg, 2, r) {
			if n := p.length * p.batch; len(p.items) != n || len(p.next) != n ||
				len(p.weight) != n ||
				len(p.skipped) != 2*n {
				t.Fatalf("a batch of %d x %d holds %d, %d, %d and %d", p.batch, p.length,
					len(p.items), len(p.next), len(p.weight), len(p.skipped))
			}
			for i, w := range p.weight {
				if w == 0 {
					continue
				}
				got[p.next[i]]++
				if p.items[i] != before[p.next[i]] {
					t.Fatalf("item %d is the target after item %d", p.next[i], p.items[i])
				}
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d of %d interactions were targets", len(got), len(want))
		}
		for i, n := range got {
			if n != 1 {
				t.Fatalf("interaction %d was a target %d times", i, n)
			}
		}
	}
}

func TestSplitValidationHoldsOutLastInteractions(t *testing.T) {
	// Of the users with at least three interactions, half, 300, or a fifth are held out.
	for users, want := range map[int]int{200: 60, 1000: 300, 10_000: 1200} {
		testSplitValidation(t, users, want)
	}
}

// testSplitValidation splits so many users; three fifths of them have at least three interactions.
// It checks that about so many are held out.
func testSplitValidation(t *testing.T, users, want int) {
	t.Helper()
	c := &signals.Corpus{}
	for u := range users {
		var user signals.UserHistory
		for k := range 1 + u%5 {
			user.Interactions = append(user.Interactions,
				signals.Interaction{Item: int32(k), Gain: 1})
		}
		c.Users = append(c.Users, user)
	}
	train, valid := splitValidation(c, &Config{HoldoutShare: 0.2, HistoryLength: 3, Seed: 1})
	targets := 0
	for _, w := range train {
		targets += len(w) - 1
	}
	all := users / 5 * (0 + 1 + 2 + 3 + 4)
	if n := len(valid); n < want*8/10 || n > want*12/10 || targets+n != all {
		t.Errorf("%d interactions held out, want about %d; %d targets, %d in all", n, want, targets,
			all)
	}
	for _, h := range valid {
		if len(h.history) > 3 || h.history[len(h.history)-1] != h.next-1 {
			t.Fatalf("history %v, next %d", h.history, h.next)
		}
	}
}

// The texts vary in two directions only, with different deviations. Two components are found. Half
// whitening leaves the square root of the ratio of their deviations.
func TestComponents(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	var text [][]float32
	for range 4000 {
		a, b := r.NormFloat64()*3, r.NormFloat64()
		text = append(text, []float32{float32(1 + a), float32(2 + b), 3, float32(a)})
	}
	text = append(text, nil)
	c, err := principalComponents(text, 3)
	if err != nil {
		t.Fatal(err)
	}
	if c.n != 2 {
		t.Fatalf("found %d components, want 2", c.n)
	}
	var square [2]float64
	for i := range text[:4000] {
		for k := range 2 {
			v := float64(c.rows[i*2+k])
			square[k] += v * v / 4000
		}
	}
	ratio := math.Sqrt(square[0] / square[1])
	// The deviation is 3 sqrt 2 in the first direction and 1 in the second.
	if want := math.Sqrt(3 * math.Sqrt2); math.Abs(ratio-want) > 0.1 ||
		math.Abs(square[0]+square[1]-2) > 1e-3 {
		t.Errorf("the ratio of the deviations is %.3f, want %.3f; mean squares %v",
			ratio, want, square)
	}
	if last := c.rows[4000*2:]; last[0] != 0 || last[1] != 0 {
		t.Errorf("an item without a text has the components %v", last)
	}
	// The composed projection equals centring, projecting to components, and projecting to item
	// vectors.
	second, unknown := []float32{1, 2, 3, 4}, []float32{5, 6}
	m, offset := c.compose(second, unknown)
	for j := range 2 {
		want, got := unknown[j], offset[j]
		for k := range 2 {
			want += c.rows[k] * second[k*2+j]
		}
		for i, x := range text[0] {
			got += x * m[i*2+j]
		}
		if math.Abs(float64(got-want)) > 1e-4 {
			t.Errorf("component %d is %v, want %v", j, got, want)
		}
	}
	for _, none := range [][][]float32{nil, {nil, nil}, {{1, 2}}, {{1, 2}, {1, 2}}} {
		if c, err := principalComponents(none, 3); err != nil || c.n != 0 {
			t.Errorf("%v: %d components, %v", none, c.n, err)
		}
	}
}
