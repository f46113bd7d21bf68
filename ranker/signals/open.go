package signals

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"relish/ranker"
)

// TrainedSignal is a matcher whose tables were learned from a log: training fills its exported parts, the bundle keeps them
// as a file of its kind.
type TrainedSignal interface {
	ranker.Signal
	Kind() string
	Encode() []byte
}

// The kinds that have nothing to learn, and so no file.
const (
	KindText         = "text"
	KindTokenOverlap = "overlap"
)

// Loader makes matchers from bundle files. Matchers that know the same items share one table of them. The zero
// value is ready to use, by any number of goroutines.
type Loader struct {
	mu          sync.Mutex
	sharedItems *ranker.ItemTable // of the file opened last
}

type decoder func(data []byte, shared *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error)

var decoders = map[string]decoder{
	KindCooccurrence:        decodeCooccurrence,
	KindMatrixFactorization: decodeMatrixFactorization,
	KindResidualGP:          decodeResidualGP,
	KindContentPrior:        decodeContentPrior,
	KindLexical:             decodeLexical,
	KindTwoTower:            decodeTwoTower,
}

// Load makes the matcher of the kind; data is its file, nil for a kind without one. Damage is an error, never a panic.
func (o *Loader) Load(kind string, data []byte) (ranker.Signal, error) {
	if plain := map[string]ranker.Signal{KindText: TextSimilarity{}, KindTokenOverlap: TokenOverlap{}}[kind]; plain != nil {
		if data != nil {
			return nil, fmt.Errorf("matcher kind %q has no file", kind)
		}
		return plain, nil
	}
	decode, known := decoders[kind]
	if !known {
		return nil, fmt.Errorf("matcher kind %q is unknown; this server has %s", kind, strings.Join(Kinds(), ", "))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	m, items, err := decode(data, o.sharedItems)
	if err != nil {
		return nil, fmt.Errorf("matcher %s: %w", kind, err)
	}
	if items != nil {
		o.sharedItems = items
	}
	return m, nil
}

// Kinds returns the kinds that Open knows, sorted.
func Kinds() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(decoders)), KindText, KindTokenOverlap)))
}

// ColumnGroup returns the group of a matcher's column: that of text for what reads the items' content, of behaviour for what
// reads who took what.
func ColumnGroup(column string) string {
	kind, _, _ := strings.Cut(column, ".")
	if kind == KindCooccurrence || kind == KindMatrixFactorization || kind == KindResidualGP && column != residualColumns[1] {
		return "behaviour"
	}
	return ranker.GroupText
}
