package finetune

import (
	"fmt"
	"slices"
	"testing"

	"relish/internal/onnxtest"
	"relish/ranker"
)

// answerItem returns an item with a title.
func answerItem(title string) *ranker.ItemInfo {
	return ranker.NewItemInfo(ranker.Item{ID: title, Title: title}, ranker.TextSpec{"title"})
}

// pairCorpus has 40 questions for each of 6 answers. Each was chosen beside the next two answers,
// and every eighth question of an answer has a second choice.
func pairCorpus(t *testing.T) (*corpus, *Config) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Objective = Pairs
	words := []string{"violin", "pepper", "hammer", "comet", "glacier", "poodle"}
	var answers []*ranker.ItemInfo
	for _, word := range words {
		answers = append(answers, answerItem(word))
	}
	var pairs []Pair
	for i := range 240 {
		k := i % len(words)
		others := []*ranker.ItemInfo{answers[(k+1)%6], nil, answers[(k+2)%6]}
		question := fmt.Sprintf("where is my %s %d", words[k], i)
		pairs = append(pairs, Pair{question, answers[k], others})
		if i/6%8 == 0 {
			pairs = append(pairs, Pair{question, answers[(k+1)%6], others})
		}
	}
	pairs = append(pairs, Pair{"violin", answers[0], nil}, Pair{"", answers[0], nil},
		Pair{"no answer", nil, nil})
	c, err := buildCorpus(&Input{
		Files: onnxtest.EncoderFiles(t, "fp32"), Pairs: pairs,
	}, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, &cfg
}

// A query of a pair is one question. Its negatives have no text that was chosen for it, and no
// question for which the same text was chosen. The texts that were offered beside the chosen one
// are in the batch. Held-out questions are in no batch.
func TestPairBatches(t *testing.T) {
	c, cfg := pairCorpus(t)
	if len(c.pairs.answers) != 6 || len(c.pairs.chosen) != 240 {
		t.Fatalf("%d answers and %d questions", len(c.pairs.answers), len(c.pairs.chosen))
	}
	s := newSampler(c, cfg, small, nil)
	hard, negatives := 0, 0
	for range 40 {
		b := s.nextBatch()
		n := small.texts
		for q := range b.queries {
			question := b.texts[slices.Index(b.queryWeights[q*n:(q+1)*n], 1)]
			target := b.texts[slices.Index(b.target[q*n:(q+1)*n], 1)]
			if c.heldOut[question] || !slices.Contains(c.pairs.chosen[question], target) {
				t.Fatalf("question %d has the target %d", question, target)
			}
			for number, text := range b.texts {
				if b.shift[q*n+number] == maskedScore || text == target {
					continue
				}
				negatives++
				if slices.Contains(c.pairs.chosen[question], text) {
					t.Fatal("a text that was chosen for the question is a negative")
				}
				for _, answer := range c.pairs.chosen[text] {
					if slices.Contains(c.pairs.chosen[question], answer) {
						t.Fatal("a question with the same answer is a negative")
					}
				}
				if slices.Contains(c.pairs.others[question], text) {
					hard++
				}
			}
		}
	}
	if hard < 40 || negatives < 1000 {
		t.Errorf("%d negatives, %d of them hard", negatives, hard)
	}
}

// A question that was held out is to be ranked among answers that were never chosen for it.
func TestPairValidation(t *testing.T) {
	c, cfg := pairCorpus(t)
	v := newValidator(c, cfg)
	if len(v.stoppingCases) < 4 || len(v.finalCases) < 4 {
		t.Fatalf("%d and %d cases", len(v.stoppingCases), len(v.finalCases))
	}
	for _, x := range slices.Concat(v.stoppingCases, v.finalCases) {
		question := x.history[0]
		if len(x.history) != 1 || !c.heldOut[question] ||
			!slices.Contains(c.pairs.chosen[question], x.next) || len(x.negatives) < 4 {
			t.Errorf("case %+v", x)
		}
		for _, text := range x.negatives {
			if slices.Contains(c.pairs.chosen[question], text) ||
				!slices.Contains(c.pairs.answers, text) {
				t.Errorf("question %d has the negative %d", question, text)
			}
		}
	}
	if pairs := c.countPairs(); pairs < 180 || pairs > 270 {
		t.Errorf("%d pairs to train on", pairs)
	}
}
