package training

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/cespare/xxhash/v2"

	"relish/training/replay"
	"relish/training/signals"
)

// minLoggedLists is when a log's own lists are too few, and lists are made from the interactions beside them.
const minLoggedLists = 500

// selectLists returns the lists before the cut that a blend learns from, in their order.
func selectLists(log *replay.Log, cut uint64, cfg *Config, rng *rand.Rand) []replay.RankingList {
	picks := log.ClickedImpressions(0, cut)
	if len(picks) < minLoggedLists {
		picks = append(picks, sampleLists(log, cut, cfg, rng)...)
		replay.SortLists(picks)
	}
	return picks[max(0, len(picks)-cfg.MaxLists):]
}

// sampledListsPerUser is how many lists are made for one user, from his newest interactions: they are most like the next one.
const sampledListsPerUser = 1

// sampleLists makes lists from the newer half of the interactions, whose counters are most like those in serving. Of more users
// than the blend takes, those are taken whom a hash names: the same ones whenever it is trained, so that what is
// learned from the others' newest interactions (Spared) does not come back as a label.
func sampleLists(log *replay.Log, cut uint64, cfg *Config, rng *rand.Rand) []replay.RankingList {
	steps := 0
	for _, s := range log.Interactions {
		if s.Seq < cut {
			steps++
		}
	}
	if steps == 0 {
		return nil
	}
	n := replay.Negatives{Count: cfg.Negatives.Count, Popular: cfg.Negatives.Popular}
	picks := log.SampledLists(log.Interactions[steps/2].Seq, cut, n, sampledListsPerUser, rng)
	ids := log.Users.IDs()
	rank := make([]uint64, len(ids))
	for u, id := range ids {
		rank[u] = xxhash.Sum64String("lists " + id)
	}
	slices.SortStableFunc(picks, func(a, b replay.RankingList) int { return cmp.Compare(rank[a.User], rank[b.User]) })
	return picks[:min(len(picks), cfg.MaxLists)]
}

// EncoderSplit is the part of a log that the text encoder may be tuned on: of each user what came before the first cut, and
// before the first list that a training which ends at one of the cuts learns the blend from. Whoever learned from
// these would tell the blend its own labels. The corpus has no vectors and no lists.
func EncoderSplit(log *replay.Log, cuts []uint64, cfg *Config) *signals.Corpus {
	var picks []replay.RankingList
	for _, cut := range cuts {
		picks = append(picks, selectLists(log, cut, cfg, rand.New(rand.NewPCG(cfg.Seed, listStream)))...)
	}
	c := newCorpora(log, picks, nil, slices.Min(cuts))
	clear(c.fold)
	corpus := c.without(0)
	for u := range corpus.Users {
		corpus.Users[u].Lists = nil
	}
	return corpus
}
