package admission_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"relish/internal/admission"
)

// fill acquires slots of a cost until none is free.
func fill(l *admission.Limiter, client string, cost int) (slots []*admission.Slot) {
	for s := l.Acquire(client, cost); s != nil; s = l.Acquire(client, cost) {
		slots = append(slots, s)
	}
	return slots
}

func release(slots []*admission.Slot, shortOfTime bool) {
	for _, s := range slots {
		s.Release(shortOfTime)
	}
}

// The limit grows while busy requests are in time, and falls while they are short of time, within
// its bounds.
func TestLimitFollowsTime(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	l := admission.NewLimiter(1000)
	if l.Limit() != min(1000, 16*processors) {
		t.Errorf("the limit begins at %d", l.Limit())
	}
	for range 3000 {
		release(fill(l, "", 1), false)
	}
	if l.Limit() != 1000 {
		t.Errorf("after 3,000 rounds in time the limit is %d, want 1000", l.Limit())
	}
	for range 500 {
		release(fill(l, "", 1), true)
	}
	if l.Limit() != 8*processors {
		t.Errorf("after 500 rounds short of time the limit is %d, want %d", l.Limit(), 8*processors)
	}
	// Requests of an idle service say nothing about more at once.
	for range 10_000 {
		l.Acquire("", 1).Release(false)
	}
	if l.Limit() != 8*processors {
		t.Errorf("an idle service raised the limit to %d", l.Limit())
	}
}

// The limit settles where one request in ten runs short of time. A few late ones change little.
func TestLimitSettles(t *testing.T) {
	l := admission.NewLimiter(10_000)
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		for _, s := range fill(l, "", 1) {
			// One in a hundred is late whatever the limit is, and all are above 300 slots.
			s.Release(random.IntN(100) == 0 || random.IntN(200) < l.Limit()-200)
		}
	}
	if l.Limit() < 205 || l.Limit() > 235 {
		t.Errorf("the limit is %d; a tenth are late at 218", l.Limit())
	}
}

// A large request takes more slots, but never more than half, so that it is admitted at all.
func TestCost(t *testing.T) {
	l := admission.NewLimiter(8)
	large := l.Acquire("", 1000)
	if large == nil || large.Cost() != 4 {
		t.Fatalf("a large request got %v", large)
	}
	if small := fill(l, "", 1); len(small) != 4 {
		t.Errorf("beside it %d small ones run, want 4", len(small))
	}
	large.Release(false)
	if l.Acquire("", 4) == nil || l.Acquire("", 1) != nil {
		t.Error("the slots of the large request were not given back")
	}
}

// A client that floods leaves slots to the others, and gets all of them when it is alone.
func TestShareOfClients(t *testing.T) {
	l := admission.NewLimiter(16)
	flood := fill(l, "flood", 1)
	if len(flood) != 16 {
		t.Errorf("a client alone got %d of 16 slots", len(flood))
	}
	release(flood[:1], false) // one after the other ends, and the flood takes what it gets
	other := l.Acquire("other", 1)
	if other == nil {
		t.Fatal("another client got no slot")
	}
	release(flood[1:], false)
	n := len(fill(l, "flood", 1))
	if n != 11 { // with the other's slot 12 of 16
		t.Errorf("beside another client, a flood takes %d slots of 16, want 11", n)
	}
	if m := len(fill(l, "other", 1)); m != 16-1-n {
		t.Errorf("the other client got %d further slots, want those that are left", m)
	}
	if l.Acquire("third", 1) != nil {
		t.Error("more slots than the limit were given")
	}
}

// Free tells what Acquire would do, for each client and cost, and takes nothing.
func TestFree(t *testing.T) {
	l := admission.NewLimiter(16)
	slots := fill(l, "flood", 1)
	slots[0].Release(false)
	other := l.Acquire("other", 1)
	release(slots[1:], false)
	for range 16 {
		for _, client := range []string{"flood", "other", "third"} {
			for cost := range 20 {
				free := l.Free(client, cost)
				s := l.Acquire(client, cost)
				if free != (s != nil) {
					t.Errorf("%s, cost %d: Free says %t, Acquire gives %v", client, cost, free, s)
				}
				if s != nil {
					s.Release(false)
				}
			}
		}
		l.Acquire("flood", 1) // one slot less is free in the next round
	}
	other.Release(false)
}

// A flood is more than three refusals for each admitted request, in the mean over some.
func TestFlood(t *testing.T) {
	l := admission.NewLimiter(16)
	rounds := func(n, refusals int) (flood bool) {
		for range n {
			l.Acquire("", 1).Release(false)
			for range refusals {
				flood = l.Refuse()
			}
		}
		return flood
	}
	if rounds(1000, 2) {
		t.Error("two refusals for each admitted request are a flood")
	}
	if rounds(10, 9) {
		t.Error("a burst of 90 refusals is a flood")
	}
	if !rounds(1000, 4) {
		t.Error("four refusals for each admitted request are no flood")
	}
	if rounds(1000, 2) {
		t.Error("the flood does not end")
	}
	n := 0
	for n < 1000 && !l.Refuse() {
		n++
	}
	if n < 100 || n == 1000 {
		t.Errorf("while nothing is admitted, refusal %d is the first of a flood", n)
	}
}

func TestBudget(t *testing.T) {
	b := admission.NewBudget(100)
	bulk, request := b.Lease(true), b.Lease(false)
	if err := bulk.Take(76); !errors.Is(err, admission.ErrTooLarge) {
		t.Errorf("bulk took more than three quarters: %v", err)
	}
	if err := bulk.Take(75); err != nil {
		t.Error(err)
	}
	if err := b.Lease(true).Take(1); !errors.Is(err, admission.ErrNoMemory) {
		t.Errorf("bulk took from the last quarter: %v", err)
	}
	if err := request.Take(25); err != nil {
		t.Errorf("the last quarter is not left to requests: %v", err)
	}
	if err := b.Lease(false).Take(1); !errors.Is(err, admission.ErrNoMemory) || b.Taken() != 100 {
		t.Errorf("%v, %d taken", err, b.Taken())
	}
	bulk.Release()
	request.Release()
	bulk.Release() // nothing is given back twice
	if b.Taken() != 0 {
		t.Errorf("%d bytes are taken after all were given back", b.Taken())
	}
}
