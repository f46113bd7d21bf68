package features

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
)

// A checkpoint is a State in a stream. All numbers are little-endian.
//
//	"RLCP" | version u8 | sequence u64 | arrival ms i64 | replica [8]byte |
//	        Config.Hash [8]byte | CRC-32C u32 of the bytes before
//	packed values (see codec.go), each after its length as a uvarint: the sizes, the names of
//	        packed users in the order of their numbers (see packedusers.go), everything else
//	length 0 | number of values as a uvarint
const (
	checkpointMagic = "RLCP"
	// Earlier versions: 1 has no external tables, 2 no replica, and 3 no hash of the configuration.
	// 4 has neither sizes nor packed users. In 5, tokens of items are words in every script.
	checkpointVersion  = 6
	replicaVersion     = 3
	configVersion      = 4
	packedUsersVersion = 5
	termsVersion       = 6
	maxPackedBytes     = 64 << 20
)

// WriteCheckpoint writes the state to w. The state must not change meanwhile; a Save allows that.
func (s *State) WriteCheckpoint(w io.Writer) error {
	save := s.BeginSave()
	defer save.End()
	var packed []byte
	for more := true; more; {
		packed, more = save.Next(packed)
		if _, err := w.Write(packed); err != nil {
			return err
		}
	}
	return nil
}

// ReadCheckpoint returns the state that WriteCheckpoint or a Save wrote. It fails with ErrCorrupt,
// with ErrLayout, or with an error that names a newer format version. The caller can replay the log
// instead.
func ReadCheckpoint(cfg Config, r io.Reader) (*State, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	head, err := ReadCheckpointHead(br)
	if err != nil {
		return nil, err
	}
	s := New(cfg)
	s.replica, s.seq, s.arrival = head.Replica, head.Seq, head.Arrival
	l := loader{s: s, r: valueReader{br: br}, oldTokens: head.version < termsVersion}
	if head.version >= packedUsersVersion {
		if err := l.loadNames(); err != nil {
			return nil, err
		}
	}
	if err := l.loadRest(); err != nil {
		return nil, err
	}
	s.sortByLastEvent()
	return s, nil
}

// CheckpointHead says which records a checkpoint includes.
type CheckpointHead struct {
	Replica string // whose log Seq counts, 16 hex digits; "": unknown
	Seq     uint64 // of the last record included
	Arrival int64  // of the newest record included, Unix ms
	Config  string // Config.Hash of the configuration that it was counted with; "": unknown

	version byte // of the format
}

// ReadCheckpointHead reads the beginning of a checkpoint.
func ReadCheckpointHead(r io.Reader) (h CheckpointHead, err error) {
	head := make([]byte, 4+1+8+8, 64)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:4]) != checkpointMagic {
		return h, ErrCorrupt
	}
	if head[4] > checkpointVersion {
		return h, fmt.Errorf(
			"the checkpoint has format version %d, and this binary reads up to %d: "+
				"use a newer relish, or delete the checkpoint to replay the log",
			head[4],
			checkpointVersion,
		)
	}
	rest := 4
	if head[4] >= replicaVersion {
		rest += 8
	}
	if head[4] >= configVersion {
		rest += 8
	}
	if _, err := io.ReadFull(r, head[21:21+rest]); err != nil {
		return h, ErrCorrupt
	}
	head = head[:21+rest]
	end := len(head) - 4
	if crc32.Checksum(head[:end], castagnoli) != binary.LittleEndian.Uint32(head[end:]) {
		return h, ErrCorrupt
	}
	h.version = head[4]
	h.Seq = binary.LittleEndian.Uint64(head[5:])
	h.Arrival = int64(binary.LittleEndian.Uint64(head[13:]))
	if head[4] >= replicaVersion {
		h.Replica = idText(head[21:29])
	}
	if head[4] >= configVersion {
		h.Config = idText(head[29:37])
	}
	return h, nil
}

// idBytes returns the eight bytes of an id of 16 hex digits, zeros for an unknown one.
func idBytes(text string) []byte {
	id, err := hex.DecodeString(text)
	if err != nil || len(id) != 8 {
		return make([]byte, 8)
	}
	return id
}

// idText is the inverse of idBytes.
func idText(id []byte) string {
	if bytes.Equal(id, make([]byte, len(id))) {
		return ""
	}
	return hex.EncodeToString(id)
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
