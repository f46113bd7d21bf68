package features

import (
	"encoding/binary"
	"hash/crc32"
)

// A Save packs a state as a checkpoint while the state goes on changing. The checkpoint has the
// state as of BeginSave.
//
// The save walks the names that packed users refer to, and then the slots of the items, users and
// counters, in small steps. Whatever changes before the walk has come to it is packed just before
// the change. The packed values wait in memory for a later call of Next, so they take at most the
// size of what changes meanwhile, each value once.
//
// A state has at most one save at a time. BeginSave and End change the state as Apply does. Next
// may overlap any number of Reads, but not Apply.
type Save struct {
	packer        // of everything after the names
	first  packer // of what comes before it
	names  []*nameWalk
	walks  []*walk
	s      *State
}

// A step of a save visits at most maxStepSlots slots, or that many times namesAtOnce names, and
// stops earlier when it has packed maxStepBytes. This takes some hundred microseconds at most.
const (
	maxStepSlots = 64
	maxStepBytes = 16 << 10
)

// BeginSave begins to pack the state as it is now.
func (s *State) BeginSave() *Save {
	p := packer{Counters: s.Counters, idle: s.idle}
	v := &Save{packer: p, first: p, s: s}
	v.first.head(s)
	for _, n := range s.users.packer.interners() {
		v.names = append(v.names, n.beginSave())
	}
	v.counts(globalKey)
	v.tables(s)
	v.walks = []*walk{
		newWalk(s.items.slots.n, func(slot uint32) {
			if it := s.items.in(slot); it != nil {
				v.item(it)
			}
		}),
		newWalk(s.users.slots.n, func(slot uint32) {
			if r := s.users.in(slot); r != nil {
				v.user(r)
			}
		}),
		newWalk(s.counted.n, func(slot uint32) { v.counts(s.counted.get(slot).key) }),
	}
	s.items.save, s.users.save, s.save = v.walks[0], v.walks[1], v.walks[2]
	return v
}

// Next returns the next bytes of the checkpoint, and takes a buffer whose memory it may use for
// later ones, such as what an earlier call returned. more is false with the last bytes.
func (v *Save) Next(buf []byte) (packed []byte, more bool) {
	if len(v.names) > 0 {
		v.nextNames()
		packed, v.first.buf = v.first.buf, buf[:0]
		return packed, true
	}
	for n := 0; n < maxStepSlots && len(v.buf) < maxStepBytes && len(v.walks) > 0; n++ {
		if !v.walks[0].step() {
			v.walks = v.walks[1:]
		}
	}
	if more = len(v.walks) > 0; !more {
		v.end(v.first.n)
	}
	packed, v.buf = v.buf, buf[:0]
	return packed, more
}

// nextNames packs the next names into first.
func (v *Save) nextNames() {
	p := &v.first
	for n := 0; n < maxStepSlots && len(p.buf) < maxStepBytes && len(v.names) > 0; n++ {
		if w := v.names[0]; w.next < w.end {
			p.value(p.appendNames(p.scratch[:0], w))
		} else {
			v.names = v.names[1:]
		}
	}
}

// End ends the save, whether Next has returned everything or not.
func (v *Save) End() {
	v.s.items.save, v.s.users.save, v.s.save = nil, nil, nil
	for _, n := range v.s.users.packer.interners() {
		n.endSave()
	}
}

// walk is the way of a save through the slots of one kind. A nil walk does nothing.
type walk struct {
	next, end uint32   // the slots still to be visited
	done      []uint64 // one bit for each slot: it was packed already, or is new
	pack      func(slot uint32)
}

func newWalk(slots uint32, pack func(slot uint32)) *walk {
	return &walk{end: slots, done: make([]uint64, (slots+63)/64), pack: pack}
}

func (w *walk) pending(slot uint32) bool {
	return w != nil && slot >= w.next && slot < w.end && w.done[slot/64]&(1<<(slot%64)) == 0
}

// before packs what is in the slot if the walk has not come to it. It must be called before each
// change.
func (w *walk) before(slot uint32) {
	if w.pending(slot) {
		w.exclude(slot)
		w.pack(slot)
	}
}

// exclude keeps what comes into a free slot out of the save.
func (w *walk) exclude(slot uint32) {
	if w.pending(slot) {
		w.done[slot/64] |= 1 << (slot % 64)
	}
}

// step visits the next slot. It is false if there is none.
func (w *walk) step() bool {
	if w.next == w.end {
		return false
	}
	if w.pending(w.next) {
		w.pack(w.next)
	}
	w.next++
	return true
}

// ---- The parts of a checkpoint ----

// packer appends the parts of a checkpoint to buf.
type packer struct {
	*Counters
	idle    int64  // State.idle
	n       uint64 // packed values so far
	buf     []byte
	scratch []byte
}

// head appends what a checkpoint begins with.
func (p *packer) head(s *State) {
	p.buf = append(append(p.buf, checkpointMagic...), checkpointVersion)
	p.buf = binary.LittleEndian.AppendUint64(p.buf, s.seq)
	p.buf = binary.LittleEndian.AppendUint64(p.buf, uint64(s.arrival))
	p.buf = append(p.buf, idBytes(s.replica)...)
	p.buf = append(p.buf, idBytes(s.cfg.Hash())...)
	p.buf = binary.LittleEndian.AppendUint32(p.buf, crc32.Checksum(p.buf, castagnoli))
	p.value(p.appendSizes(nil, s.sizes()))
}

// value appends the packed value in p.scratch after its length.
func (p *packer) value(packed []byte) {
	p.scratch = packed
	p.buf = binary.AppendUvarint(p.buf, uint64(len(packed)))
	p.buf = append(p.buf, packed...)
	p.n++
}

func (p *packer) item(it *ItemState) { p.value(p.appendPackedItem(p.scratch[:0], it, p.idle)) }

func (p *packer) user(r *userRecord) {
	if r.unpacked != nil {
		p.value(p.appendUser(p.scratch[:0], r.id, r.unpacked, p.idle))
	} else {
		p.value(p.appendPackedUser(p.scratch[:0], r, p.idle))
	}
}

func (p *packer) counts(key CounterKey) { p.value(p.AppendCounts(p.scratch[:0], key)) }

func (p *packer) tables(s *State) {
	for _, name := range sortedKeys(s.tables) {
		p.value(s.appendTable(p.scratch[:0], name))
	}
}

// end appends the end of a checkpoint that has n values more than those of p.
func (p *packer) end(n uint64) { p.buf = binary.AppendUvarint(append(p.buf, 0), n+p.n) }
