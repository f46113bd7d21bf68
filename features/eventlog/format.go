package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The format of a segment file. All numbers are little-endian.
//
//	header: "RLOG" | version u16 | 0 u16 | replica [8]byte | first sequence u64 | created ms i64 |
//	        CRC-32C u32 of the bytes before
//	frame:  payload length u32 | CRC-32C u32 of the bytes after it | sequence u64 |
//	        arrival ms i64 | payload
//
// A frame with an empty payload stands for an erased record, so that the sequence has no gap.
//
// The highest bit of a length is set if a batch begins with the frame; then the CRC-32C covers one
// more byte, a 1. All frames of a batch are made durable by one fsync, before the next batch is
// written. Damage that no other batch follows is therefore what a power loss left of a batch that
// was never acknowledged.
//
// Version 2 has records that version 1 does not know: imported ones, and impressions with the list
// that was scored. Version 3 marks the beginnings of batches. Version 4 encrypts the users of erase
// events.
const (
	magic            = "RLOG"
	version          = 4
	batchVersion     = 3 // the first version that marks the beginnings of batches
	encryptedVersion = 4 // the first version that encrypts the users of erase events
	headerSize       = 36
	frameSize        = 24
	maxPayload       = 64 << 20
	batchBit         = 1 << 31
	segmentSuffix    = ".rlog"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type header struct {
	version uint16
	replica [8]byte
	first   uint64
	created int64
}

func (h *header) appendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint16(dst, version)
	dst = binary.LittleEndian.AppendUint16(dst, 0)
	dst = append(dst, h.replica[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.first)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.created))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

var errHeader = errors.New("the header is damaged")

func parseHeader(data []byte) (h header, err error) {
	if len(data) < headerSize || string(data[:4]) != magic {
		return h, errHeader
	}
	// The version is checked before the checksum, because a newer format may use another checksum.
	if v := binary.LittleEndian.Uint16(data[4:]); v > version {
		return h, fmt.Errorf(
			"the segment has format version %d, and this binary reads up to %d: use a newer relish",
			v, version,
		)
	}
	if crc32.Checksum(data[:headerSize-4], castagnoli) != binary.LittleEndian.Uint32(
		data[headerSize-4:],
	) {
		return h, errHeader
	}
	h.version = binary.LittleEndian.Uint16(data[4:])
	copy(h.replica[:], data[8:16])
	h.first = binary.LittleEndian.Uint64(data[16:])
	h.created = int64(binary.LittleEndian.Uint64(data[24:]))
	return h, nil
}

type frame struct {
	seq     uint64
	arrival int64
	batch   bool   // a batch begins here
	payload []byte // aliases the segment's bytes
}

// appendFrame appends a frame that is a batch of its own.
func appendFrame(dst []byte, seq uint64, arrival int64, payload []byte) []byte {
	at := len(dst)
	dst = append(openFrame(dst, seq, arrival), payload...)
	closeFrame(dst[at:], true)
	return dst
}

// openFrame appends the head of a frame. The caller appends the payload and calls closeFrame with
// the whole frame.
func openFrame(dst []byte, seq uint64, arrival int64) []byte {
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, seq)
	return binary.LittleEndian.AppendUint64(dst, uint64(arrival))
}

func closeFrame(f []byte, batch bool) {
	n := uint32(len(f) - frameSize)
	if batch {
		n |= batchBit
	}
	binary.LittleEndian.PutUint32(f, n)
	binary.LittleEndian.PutUint32(f[4:], frameChecksum(f, batch))
}

func frameChecksum(f []byte, batch bool) uint32 {
	sum := crc32.Checksum(f[8:], castagnoli)
	if batch {
		sum = crc32.Update(sum, castagnoli, []byte{1})
	}
	return sum
}

// parseFrame reads the frame at the start of data. ok is false if it is incomplete or damaged.
func parseFrame(data []byte) (f frame, size int, ok bool) {
	if len(data) < frameSize {
		return f, 0, false
	}
	n := binary.LittleEndian.Uint32(data)
	batch := n&batchBit != 0
	n &^= batchBit
	if n > maxPayload || uint64(len(data)) < frameSize+uint64(n) {
		return f, 0, false
	}
	size = frameSize + int(n)
	if frameChecksum(data[:size], batch) != binary.LittleEndian.Uint32(data[4:]) {
		return f, 0, false
	}
	return frame{
		seq:     binary.LittleEndian.Uint64(data[8:]),
		arrival: int64(binary.LittleEndian.Uint64(data[16:])),
		batch:   batch,
		payload: data[frameSize:size],
	}, size, true
}

// segment is a segment file. Its name says at which sequence it begins.
type segment struct {
	first uint64
	path  string
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

// segments lists the segment files of a folder by their first sequence.
func segments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []segment
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok {
			continue
		}
		first, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			continue
		}
		out = append(out, segment{first, filepath.Join(dir, e.Name())})
	}
	slices.SortFunc(out, func(a, b segment) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// Sizes returns the sizes of the segments in dir that begin at upTo or before, by name.
func Sizes(dir string, upTo uint64) (map[string]int64, error) {
	segs, err := segments(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, s := range segs {
		if s.first > upTo {
			break
		}
		st, err := os.Stat(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // retention has just dropped it
		}
		if err != nil {
			return nil, err
		}
		sizes[s.name()] = st.Size()
	}
	return sizes, nil
}

func (s segment) name() string { return filepath.Base(s.path) }

// header reads the segment's header. It fails with errHeader if the header is damaged.
func (s segment) header() (header, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	data := make([]byte, headerSize)
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return header{}, err
	}
	return parseHeader(data[:n])
}
