package signals

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"relish/ranker"
	served "relish/ranker/signals"
)

// MaxQuestions bounds the search texts that QueryHistory keeps, the newest. With vectors of 384
// numbers they take 15 MB.
const MaxQuestions = 10_000

// question is a list with a search text and a choice.
type question struct {
	list   int   // of the log
	item   int32 // that was chosen
	vector []float32
}

// ReadQuestions encodes the search texts of the newest lists before the holdout for which an item
// was chosen, at most MaxQuestions. Corpus then has them. A text without a vector is left out.
func (c *CrossFit) ReadQuestions(ctx context.Context, vectors ranker.Vectors) error {
	var questions []question
	for i := len(c.log.Lists) - 1; i >= 0 && len(questions) < MaxQuestions; i-- {
		l := &c.log.Lists[i]
		if l.Query == "" || l.Seq >= c.holdout {
			continue
		}
		if item := chosen(l.Items, l.Gains); item >= 0 {
			questions = append(questions, question{list: i, item: item})
		}
	}
	slices.Reverse(questions)
	for part := range slices.Chunk(questions, lookupChunk) {
		items, out := make([]*ranker.ItemInfo, len(part)), make([][]float32, len(part))
		for i, q := range part {
			items[i] = ranker.NewSearchItem(c.log.Lists[q.list].Query)
		}
		vectors.Fetch(ctx, items, out)
		if ctx.Err() != nil {
			return fmt.Errorf("encoding search texts: %w", ctx.Err())
		}
		for i := range part {
			part[i].vector = out[i]
		}
	}
	c.questions = slices.DeleteFunc(questions, func(q question) bool { return q.vector == nil })
	return nil
}

// chosen returns the item with the highest gain, -1 if none has one.
func chosen(items []int32, gains []float32) int32 {
	best := int32(-1)
	highest := float32(0)
	for i, gain := range gains {
		if gain > highest && items[i] >= 0 {
			best, highest = items[i], gain
		}
	}
	return best
}

// corpusQuestions returns the questions of the lists that isVisible admits.
func (c *CrossFit) corpusQuestions(isVisible func(user int32, seq uint64) bool) (out []Question) {
	for _, q := range c.questions {
		if l := &c.log.Lists[q.list]; isVisible(l.User, l.Seq) {
			out = append(out, Question{q.vector, q.item})
		}
	}
	return out
}

// minQuestions is the number of questions from which QueryHistory is worth its columns.
const minQuestions = 50

// TrainQueryHistory keeps the search texts for which each item was chosen. It returns nil if there
// are fewer than 50.
func TrainQueryHistory(c *Corpus) *served.QueryHistory {
	if len(c.Questions) < minQuestions {
		return nil
	}
	questions := slices.Clone(c.Questions)
	slices.SortStableFunc(questions, func(a, b Question) int { return cmp.Compare(a.Item, b.Item) })
	first := make([]int32, c.Items.Len()+1)
	rows := make([][]float32, len(questions))
	for i, q := range questions {
		rows[i] = q.Vector
		first[q.Item+1]++
	}
	for i := 1; i < len(first); i++ {
		first[i] += first[i-1]
	}
	return served.NewQueryHistory(c.Items, first, rows)
}
