package replay

import (
	"fmt"

	"relish/features"
	"relish/features/event"
)

// Base is a state that a server's log adds to: a restored snapshot, or what came of records that
// retention or an erasure removed. A replay becomes this state at the first record that the base
// lacks.
type Base struct {
	Seq uint64 // of the last record that the state includes
	// Load returns a new copy of the state at each call, nil if it is unusable with the present
	// configuration.
	Load  func() (*features.State, error)
	Later *Base // the next base, nil if there is none
}

// At returns the newest base that includes no record after seq, nil if there is none. b may be nil.
func (b *Base) At(seq uint64) (newest *Base) {
	for ; b != nil && b.Seq <= seq; b = b.Later {
		newest = b
	}
	return newest
}

// BaseSwitch brings a base into one replay. The zero value has no base.
type BaseSwitch struct{ base *Base } // nil: there is none, or the replay has it

// Switch returns the switch for one replay. b may be nil: there is no base.
func (b *Base) Switch() BaseSwitch { return BaseSwitch{b} }

// Before makes state the base if rec is the first record that the base lacks. It must be called
// with each record before the record is applied.
func (b *BaseSwitch) Before(rec *event.Record, state *features.State) error {
	from, err := b.Take(rec)
	if from != nil {
		state.Restore(from)
	}
	return err
}

// Take returns the base if rec is the first record that the base lacks, else nil.
func (b *BaseSwitch) Take(rec *event.Record) (*features.State, error) {
	newest := b.base.At(rec.Seq - 1)
	if newest == nil {
		return nil, nil
	}
	b.base = newest.Later
	from, err := newest.Load()
	if err != nil {
		return nil, fmt.Errorf("the state before record %d: %w", rec.Seq, err)
	}
	return from, nil
}
