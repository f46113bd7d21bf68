package signals_test

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/training/replay"
	"relish/training/signals"
)

// interactionLog returns a log in which each of the users has n interactions, user after user.
func interactionLog(t *testing.T, users, n int) *replay.Log {
	t.Helper()
	src := func() iter.Seq2[event.Record, error] {
		return func(yield func(event.Record, error) bool) {
			for seq := range users * n {
				e := ranker.Event{
					Kind: ranker.EventInteraction, ID: fmt.Sprint(seq),
					UserID: fmt.Sprint("u", seq/n), ItemID: fmt.Sprint("i", seq%n), Action: "click",
				}
				rec := event.Record{Seq: uint64(seq + 1), Arrival: int64(seq + 1), Event: e}
				if !yield(rec, nil) {
					return
				}
			}
		}
	}
	log, err := replay.Scan(t.Context(), src, replay.Options{State: features.DefaultConfig()})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func interactionCounts(c *signals.Corpus) (out []int) {
	for _, u := range c.Users {
		out = append(out, len(u.Interactions))
	}
	return out
}

// The corpus of a fold has each of its users up to their first scored list, and all other users.
func TestCorpusLeavesTheFoldOut(t *testing.T) {
	log := interactionLog(t, 20, 5)
	lists := []replay.RankingList{{Seq: 3, User: 0}, {Seq: 2, User: 0}, {Seq: 9, User: 1}}
	c := signals.NewCrossFit(log, lists, nil, math.MaxUint64)
	for fold := range signals.Folds {
		for user, n := range interactionCounts(c.Corpus(fold)) {
			want := 5
			if c.Fold(int32(user)) == fold {
				switch user {
				case 0:
					want = 1 // before sequence 2
				case 1:
					want = 3 // sequences 6 to 8
				}
			}
			if n != want {
				t.Errorf("fold %d: user %d has %d interactions, want %d", fold, user, n, want)
			}
		}
	}
	for user, n := range interactionCounts(c.Before(11).Corpus(signals.NoFold)) {
		if want := map[bool]int{true: 5, false: 0}[user < 2]; n != want {
			t.Errorf("before sequence 11: user %d has %d interactions, want %d", user, n, want)
		}
	}
}

// A user whose only item must not be learned from is left out. What other users did is complete.
func TestCorpusLeavesUncountedUsersOut(t *testing.T) {
	log := interactionLog(t, 2, 3)
	for i := range log.Interactions {
		log.Interactions[i].Uncounted = i < 4 // all of user 0, the first one of user 1
	}
	got := interactionCounts(signals.NewCrossFit(log, nil, nil, math.MaxUint64).
		Corpus(signals.NoFold))
	if want := []int{0, 3}; !slices.Equal(got, want) {
		t.Errorf("the users have %v interactions, want %v", got, want)
	}
}

// Folds are merged if the scored lists leave out a fifth of the log at most.
func TestMergeFolds(t *testing.T) {
	log := interactionLog(t, 10, 5)
	folds := func(scoredUsers int) map[int]bool {
		var lists []replay.RankingList
		for user := range scoredUsers {
			lists = append(lists, replay.RankingList{Seq: uint64(user*5 + 1), User: int32(user)})
		}
		c, out := signals.NewCrossFit(log, lists, nil, math.MaxUint64).MergeFolds(), map[int]bool{}
		for user := range 10 {
			out[c.Fold(int32(user))] = true
		}
		return out
	}
	if got := folds(2); len(got) != 1 {
		t.Errorf("a fifth of the log left out: folds %v, want one", got)
	}
	if got := folds(3); len(got) < 2 {
		t.Errorf("three tenths of the log left out: folds %v, want several", got)
	}
}
