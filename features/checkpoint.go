package features

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A checkpoint is a State in a stream. All numbers are little-endian.
//
//	"RLCP" | version u8 | sequence u64 | arrival ms i64 | CRC-32C u32 of the bytes before
//	packed values (see codec.go), each after its length as a uvarint
//	length 0 | number of values as a uvarint
const (
	checkpointMagic   = "RLCP"
	checkpointVersion = 2 // 1 has no external tables
	maxPackedBytes    = 64 << 20
)

// WriteCheckpoint writes the state to w. Equal states give equal bytes.
func (s *State) WriteCheckpoint(w io.Writer) error {
	bw := bufio.NewWriterSize(w, 1<<20)
	head := append([]byte(checkpointMagic), checkpointVersion)
	head = binary.LittleEndian.AppendUint64(head, s.seq)
	head = binary.LittleEndian.AppendUint64(head, uint64(s.arrival))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	if _, err := bw.Write(head); err != nil {
		return err
	}
	n := uint64(0)
	var buf []byte
	put := func(packed []byte) error {
		n++
		if _, err := bw.Write(binary.AppendUvarint(nil, uint64(len(packed)))); err != nil {
			return err
		}
		_, err := bw.Write(packed)
		return err
	}
	for _, id := range sortedKeys(s.items) {
		buf = s.AppendItem(buf[:0], id, s.items[id])
		if err := put(buf); err != nil {
			return err
		}
	}
	for _, id := range sortedKeys(s.users) {
		buf = s.AppendUser(buf[:0], id, s.users[id])
		if err := put(buf); err != nil {
			return err
		}
	}
	for _, v := range s.Keys() {
		if err := put(s.AppendCounts(buf[:0], v)); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(s.tables) {
		if err := put(s.appendTable(buf[:0], name)); err != nil {
			return err
		}
	}
	if _, err := bw.Write(binary.AppendUvarint([]byte{0}, n)); err != nil {
		return err
	}
	return bw.Flush()
}

// ReadCheckpoint returns the state that WriteCheckpoint wrote. It fails with ErrCorrupt, with
// ErrLayout, or with an error that names a newer format version. The caller can replay the log
// instead.
func ReadCheckpoint(cfg Config, r io.Reader) (*State, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	seq, arrival, err := readCheckpointHead(br)
	if err != nil {
		return nil, err
	}
	s := New(cfg)
	s.seq, s.arrival = seq, arrival
	var buf []byte
	for n := uint64(0); ; n++ {
		size, err := binary.ReadUvarint(br)
		if err != nil || size > maxPackedBytes {
			return nil, ErrCorrupt
		}
		if size == 0 {
			if total, err := binary.ReadUvarint(br); err != nil || total != n {
				return nil, ErrCorrupt
			}
			return s, nil
		}
		if uint64(cap(buf)) < size {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		if _, err := io.ReadFull(br, buf); err != nil {
			return nil, errors.Join(ErrCorrupt, err)
		}
		if err := s.load(buf); err != nil {
			return nil, err
		}
	}
}

// CheckpointSeq returns the sequence of the last record that a checkpoint includes.
func CheckpointSeq(r io.Reader) (uint64, error) {
	seq, _, err := readCheckpointHead(r)
	return seq, err
}

func readCheckpointHead(r io.Reader) (seq uint64, arrival int64, err error) {
	head := make([]byte, 4+1+8+8+4)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:4]) != checkpointMagic {
		return 0, 0, ErrCorrupt
	}
	if head[4] > checkpointVersion {
		return 0, 0, fmt.Errorf(
			"the checkpoint has format version %d, and this binary reads up to %d: "+
				"use a newer relish, or delete the checkpoint to replay the log",
			head[4],
			checkpointVersion,
		)
	}
	if crc32.Checksum(head[:21], castagnoli) != binary.LittleEndian.Uint32(head[21:]) {
		return 0, 0, ErrCorrupt
	}
	return binary.LittleEndian.Uint64(head[5:]), int64(binary.LittleEndian.Uint64(head[13:])), nil
}

// load adds one packed value to the state.
func (s *State) load(packed []byte) error {
	switch packed[0] {
	case kindItem:
		id, it, err := s.DecodeItem(packed)
		if err == nil {
			s.items[id] = it
		}
		return err
	case kindUser:
		id, u, err := s.DecodeUser(packed)
		if err == nil {
			s.users[id] = u
		}
		return err
	case kindTable:
		return s.loadTable(packed)
	}
	_, err := s.LoadCounts(packed)
	return err
}

// appendTable packs which version of an external table is in use.
func (s *State) appendTable(dst []byte, name string) []byte {
	e := encoder{dst}
	e.begin(kindTable, s.LayoutHash())
	e.string(name)
	e.string(s.tables[name])
	e.seal(len(dst))
	return e.b
}

func (s *State) loadTable(packed []byte) error {
	d := decoder{b: packed}
	d.open(kindTable, s.LayoutHash())
	name := d.string()
	digest := d.string()
	if err := d.done(); err != nil {
		return err
	}
	s.tables[name] = digest
	return nil
}
