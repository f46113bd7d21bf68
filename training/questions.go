package training

import (
	"fmt"
	"os"

	"github.com/cespare/xxhash/v2"

	"relish/features/importfile"
	"relish/ranker"
	"relish/training/finetune"
	"relish/training/replay"
)

// QuestionAnswer is a question and its answer from a file: the id of an item, or a text.
type QuestionAnswer struct{ Question, Answer string }

// encoderShare is the share of the questions that the text encoder may learn from, if its objective
// is finetune.Pairs. The scorer learns from the other questions: for a question that the encoder
// has learned, the similarities would give the label away.
const encoderShare = 0.75

// maxEncoderPairs bounds the pairs of the log, the newest.
const maxEncoderPairs = 100_000

// isEncoderQuestion decides by a hash whether a question is for the encoder, so that every training
// decides the same.
func isEncoderQuestion(query string) bool {
	return float64(xxhash.Sum64String("encoder "+query)>>11)/(1<<53) < encoderShare
}

// EncoderPairs returns what the text encoder may learn from with objective finetune.Pairs. These
// are the encoder's share of the questions of the log, each with the item that was chosen and the
// others that were shown. Pairs of a file follow, unless their question is in the scorer's share of
// the log.
func EncoderPairs(log *replay.Log, file []QuestionAnswer) []finetune.Pair {
	items := make([]*ranker.ItemInfo, log.Items.Len())
	for i, id := range log.Items.IDs() {
		items[i] = log.Catalogue.Item(id)
	}
	ofScorer := map[string]bool{}
	var out []finetune.Pair
	for i := len(log.Lists) - 1; i >= 0; i-- {
		l := &log.Lists[i]
		if l.Query != "" && !isEncoderQuestion(l.Query) {
			ofScorer[l.Query] = true
		} else if l.Query != "" && len(out) < maxEncoderPairs {
			out = append(out, listPairs(l, items)...)
		}
	}
	for _, x := range file {
		if ofScorer[x.Question] {
			continue
		}
		answer := log.Catalogue.Item(x.Answer)
		if answer == nil {
			answer = ranker.NewItemInfo(ranker.Item{Title: x.Answer}, ranker.TextSpec{"title"})
		}
		out = append(out, finetune.Pair{Question: x.Question, Chosen: answer})
	}
	return out
}

// listPairs returns a pair for each item of a list that was chosen.
func listPairs(l *replay.LoggedList, items []*ranker.ItemInfo) (out []finetune.Pair) {
	var others []*ranker.ItemInfo
	for i, item := range l.Items {
		if l.Gains[i] <= 0 {
			others = append(others, items[item])
		}
	}
	for i, item := range l.Items {
		if l.Gains[i] > 0 {
			out = append(out,
				finetune.Pair{Question: l.Query, Chosen: items[item], Others: others})
		}
	}
	return out
}

const (
	maxFilePairs   = 200_000
	maxAnswerBytes = 64 << 10 // as of an item's text
)

// ReadPairs reads questions and answers from a CSV file, or from JSON objects, with the columns
// query and answer. An answer is the id of an item or a text of at most 64 KiB. The first row that
// cannot be used is an error that names its line. A file has at most 200,000 rows.
func ReadPairs(path string) ([]QuestionAnswer, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var out []QuestionAnswer
	err = importfile.TextColumns(path, file, []string{"query", "answer"}, importfile.Options{},
		func(line int, v []string, bad *ranker.EventError) error {
			switch {
			case bad != nil:
				return fmt.Errorf("line %d %s", line, bad.Message)
			case v[0] == "" || v[1] == "":
				return fmt.Errorf("line %d has no query or no answer: each row needs both", line)
			case len(v[0]) > replay.MaxQueryBytes:
				return fmt.Errorf("line %d has a query of %d bytes; at most %d are allowed. Are "+
					"the columns swapped?", line, len(v[0]), replay.MaxQueryBytes)
			case len(v[1]) > maxAnswerBytes:
				return fmt.Errorf("line %d has an answer of %d bytes; at most %d are allowed",
					line, len(v[1]), maxAnswerBytes)
			case len(out) == maxFilePairs:
				return fmt.Errorf("more than %d rows: use a random part of them", maxFilePairs)
			}
			out = append(out, QuestionAnswer{v[0], v[1]})
			return nil
		})
	return out, err
}
