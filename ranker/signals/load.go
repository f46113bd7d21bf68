package signals

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"relish/ranker"
)

// TrainedSignal is a signal that was learned from a log. Training fills its exported fields. A
// bundle keeps it as a file of its kind.
type TrainedSignal interface {
	ranker.Signal
	// Kind returns the kind, which is also the prefix of the columns.
	Kind() string
	// Encode returns the signal's file.
	Encode() []byte
}

// Kinds of signals that a bundle may have without a file.
const (
	KindText         = "text"
	KindTokenOverlap = "overlap"
)

// untrained are the signals without a file, by kind. Bundles of earlier versions have no file of
// the text signal.
var untrained = map[string]ranker.Signal{
	KindText:         TextSimilarity{},
	KindTokenOverlap: TokenOverlap{},
}

// decoder reads a signal's file. It returns the item table that the signal uses, nil without one.
type decoder func(data []byte, shared *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error)

// decoders are the decoders of trained signals, by kind.
var decoders = map[string]decoder{
	KindCooccurrence:        decodeCooccurrence,
	KindMatrixFactorization: decodeMatrixFactorization,
	KindResidualGP:          decodeResidualGP,
	KindContentPrior:        decodeContentPrior,
	KindLexical:             decodeLexical,
	KindTwoTower:            decodeTwoTower,
	KindText:                decodeText,
	KindQueryHistory:        decodeQueryHistory,
}

// Loader makes signals from bundle files. Signals that know the same items share one item table. A
// ResidualGP shares an equal ContentPrior with the signal of that kind. The zero value is ready to
// use. It is safe for concurrent use.
type Loader struct {
	mu          sync.Mutex
	sharedItems *ranker.ItemTable // of the file that was loaded last
	sharedPrior *ContentPrior     // that was loaded last
}

// Load returns the signal of a kind. data is its file, nil for a kind without one; Load does not
// keep it. A malformed file is an error, never a panic.
func (l *Loader) Load(kind string, data []byte) (ranker.Signal, error) {
	decode, known := decoders[kind]
	switch s := untrained[kind]; {
	case s != nil && data == nil:
		return s, nil
	case s != nil && !known:
		return nil, fmt.Errorf("signal kind %q has no file, but the bundle names one", kind)
	case !known:
		return nil, fmt.Errorf("unknown signal kind %q; this binary knows %s",
			kind, strings.Join(Kinds(), ", "))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, items, err := decode(data, l.sharedItems)
	if err != nil {
		return nil, fmt.Errorf("signal %s: %w", kind, err)
	}
	if items != nil {
		l.sharedItems = items
	}
	switch s := s.(type) {
	case *ContentPrior:
		return l.sharePrior(s), nil
	case *ResidualGP:
		s.Prior = l.sharePrior(s.Prior)
		s.Kernel.Features = s.Prior.Features
	}
	return s, nil
}

// sharePrior returns the prior that was loaded last if p equals it, so that a request computes it
// once. It returns p otherwise.
func (l *Loader) sharePrior(p *ContentPrior) *ContentPrior {
	if l.sharedPrior == nil || !reflect.DeepEqual(l.sharedPrior, p) {
		l.sharedPrior = p
	}
	return l.sharedPrior
}

// Kinds returns the kinds that Load knows, sorted.
func Kinds() []string {
	kinds := slices.AppendSeq(slices.Collect(maps.Keys(decoders)), maps.Keys(untrained))
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// ColumnGroup returns the group of a signal's column in explanations: text for what reads item
// content, behaviour for what reads interactions.
func ColumnGroup(column string) string {
	kind, _, _ := strings.Cut(column, ".")
	switch {
	case kind == KindCooccurrence, kind == KindMatrixFactorization, kind == KindQueryHistory:
		return "behaviour"
	case kind == KindResidualGP && column != residualContent:
		return "behaviour"
	}
	return ranker.GroupText
}
