package replay

import (
	"fmt"

	"relish/features"
	"relish/features/event"
)

// Base is the state that a server's log adds to: a restored snapshot, or what came of the records
// that retention dropped. A replay becomes this state at the first record that the base lacks.
type Base struct {
	Seq  uint64                          // of the last record that the state includes
	Load func() (*features.State, error) // returns a new copy at each call
}

// BaseSwitch brings a base into one replay. The zero value has no base.
type BaseSwitch struct{ base *Base } // nil: there is none, or the replay has it

// Switch returns the switch for one replay. b may be nil: there is no base.
func (b *Base) Switch() BaseSwitch { return BaseSwitch{b} }

// Before makes state the base if rec is the first record that the base lacks. It must be called
// with each record before the record is applied.
func (b *BaseSwitch) Before(rec *event.Record, state *features.State) error {
	from, err := b.take(rec)
	if from != nil {
		state.Restore(from)
	}
	return err
}

// take returns the base if rec is the first record that the base lacks, else nil.
func (b *BaseSwitch) take(rec *event.Record) (*features.State, error) {
	if b.base == nil || rec.Seq <= b.base.Seq {
		return nil, nil
	}
	from, err := b.base.Load()
	if err != nil {
		return nil, fmt.Errorf("the state before record %d: %w", rec.Seq, err)
	}
	b.base = nil
	return from, nil
}
