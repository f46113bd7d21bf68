// Package signals trains the user-item signals that package ranker/signals serves.
//
// Each signal learns from a Corpus: the part of the log that it may see. The scorer is trained on
// lists whose signals were trained without the users of those lists (see CrossFit), so that no list
// meets its own clicks in a signal. For serving, the signals are trained again on all users.
//
// The trainers are TrainLexical (word rarity), TrainContentFeatures and TrainContentPrior
// (content), TrainQueryHistory (search texts), TrainCooccurrence, TrainMatrixFactorization and
// TrainResidualGP (behaviour). Package twotower trains the two-tower model on the same corpus.
package signals

import (
	"errors"

	"relish/ranker"
	"relish/training/examination"
)

// Interaction is one interaction in a user's history.
type Interaction struct {
	Item int32
	Gain float32 // of its action, above 0
}

// List is a list that a user was shown.
type List struct {
	// Items is in the order shown, without repeats; -1 for an item that must not be learned from.
	Items []int32
	Gains []float32 // aligned with Items; 0 if no interaction followed
}

// UserHistory is what one user did and was shown.
type UserHistory struct {
	Interactions []Interaction // oldest first
	Lists        []List        // oldest first
}

// Question is a search text and an item that was chosen for it.
type Question struct {
	Vector []float32 // of the text, of unit length
	Item   int32
}

// Corpus is what signals are trained on. It is read-only.
type Corpus struct {
	Items     *ranker.ItemTable
	ItemInfos []*ranker.ItemInfo // by item: its content, nil if there is none
	Vectors   [][]float32        // by item: its text's vector, nil if there is none
	Users     []UserHistory
	// Questions are the search texts for which an item was chosen, oldest first, at most
	// MaxQuestions.
	Questions []Question
	// Examination says how likely users look at each position of a list; nil is 1 everywhere.
	Examination *examination.Curve
}

// errSingular says that a matrix of the training has no factorization.
var errSingular = errors.New(
	"the values of this log are too large or too similar for a stable solution; " +
		"remove the signal from train.signals",
)

// HasPairs reports whether any user interacted at least twice.
func (c *Corpus) HasPairs() bool {
	for i := range c.Users {
		if len(c.Users[i].Interactions) > 1 {
			return true
		}
	}
	return false
}

// interactionCounts returns the number of interactions by item.
func (c *Corpus) interactionCounts() []float64 {
	counts := make([]float64, c.Items.Len())
	for i := range c.Users {
		for _, x := range c.Users[i].Interactions {
			counts[x.Item]++
		}
	}
	return counts
}
