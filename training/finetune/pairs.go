package finetune

import (
	"slices"

	"relish/ranker"
)

// hardNegatives bounds the texts of a batch that a pair adds besides its own two.
const hardNegatives = 4

// maxOthers bounds the texts that are kept for each question as hard negatives.
const maxOthers = 32

// pairTexts says which texts are questions, and what was chosen for them. A nil pairTexts has no
// questions.
type pairTexts struct {
	chosen  map[int32][]int32 // by question: the texts that were chosen for it
	others  map[int32][]int32 // by question: texts that were offered and never chosen for it
	answers []int32           // all texts that are not questions
}

// isFalseNegative reports whether a text must not be a negative of a question: because it was
// chosen for the question, or because it is a question for which the same text was chosen.
func (p *pairTexts) isFalseNegative(question, text int32) bool {
	if p == nil {
		return false
	}
	mine := p.chosen[question]
	return slices.Contains(mine, text) || slices.ContainsFunc(p.chosen[text],
		func(answer int32) bool { return slices.Contains(mine, answer) })
}

// addPairs adds a sequence of two texts for each pair of different question and answer. Questions
// are held out, answers are not.
func (b *corpusBuilder) addPairs(pairs []Pair) {
	p := &pairTexts{chosen: map[int32][]int32{}, others: map[int32][]int32{}}
	b.corpus.pairs = p
	for _, pair := range pairs {
		answer := b.addAnswer(pair.Chosen)
		if answer < 0 {
			continue
		}
		question := b.addText(ranker.TextKey(pair.Question),
			func() string { return pair.Question }, true)
		if question < 0 || question == answer {
			continue
		}
		if !slices.Contains(p.chosen[question], answer) {
			p.chosen[question] = append(p.chosen[question], answer)
		}
		b.addSequence([]int32{question, answer})
		for _, other := range pair.Others {
			if len(p.others[question]) == maxOthers {
				break
			}
			if n := b.addAnswer(other); n >= 0 {
				p.others[question] = append(p.others[question], n)
			}
		}
	}
	for question, others := range p.others {
		p.others[question] = slices.DeleteFunc(others, func(text int32) bool {
			return text == question || b.corpus.heldOut[text] || p.isFalseNegative(question, text)
		})
	}
	for text := range b.corpus.tokens {
		if _, isQuestion := p.chosen[int32(text)]; !isQuestion {
			p.answers = append(p.answers, int32(text))
		}
	}
}

// addAnswer adds the text of an item, which is not held out. It returns -1 if there is none.
func (b *corpusBuilder) addAnswer(item *ranker.ItemInfo) int32 {
	if item == nil || item.TextKey == 0 {
		return -1
	}
	return b.addText(item.TextKey, item.Body, false)
}
