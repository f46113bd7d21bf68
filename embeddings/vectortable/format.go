package vectortable

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
)

// The file is a header and rows of one size, little-endian:
//
//	0  "RLVT"
//	4  u16 format version
//	6  u16 header size
//	8  u32 dim
//	12 u32 row size
//	16 [32]byte encoder digest (SHA-256)
//	48 zeros
//	60 u32 CRC-32C of the bytes before it
//	64 rows: u64 key, dim x float16, u32 CRC-32C of the bytes before it
const (
	magic      = "RLVT"
	version    = 1
	headerSize = 64
	keySize    = 8
	crcSize    = 4
)

// maxDim bounds the components of a vector; real encoders have 256 to 4,096.
const maxDim = 1 << 16

// ErrNewerFormat marks a table that a newer version of the program wrote.
var ErrNewerFormat = errors.New("vector table of a newer format")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type layout struct {
	dim    int
	digest [32]byte
}

// newLayout checks what names a table. digest is a hex SHA-256.
func newLayout(digest string, dim int) (layout, error) {
	s := layout{dim: dim}
	raw, err := hex.DecodeString(digest)
	if err != nil || len(raw) != len(s.digest) {
		return s, fmt.Errorf("encoder digest %q: want 64 hex digits (a SHA-256)", digest)
	}
	if dim < 1 || dim > maxDim {
		return s, fmt.Errorf("vector dim %d: want 1 to %d", dim, maxDim)
	}
	copy(s.digest[:], raw)
	return s, nil
}

func (s layout) rowSize() int { return keySize + 2*s.dim + crcSize }

// Path is where the vectors of the encoder with this digest (hex) lie in dir.
func Path(dir, digest string) string {
	return filepath.Join(dir, "vectors-"+digest[:min(16, len(digest))]+".rvt")
}

// Stale lists the tables in dir that other encoders than digest's have left. They are never read,
// so removing them only costs encoding again should that encoder come back.
func Stale(dir, digest string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "vectors-*.rvt"))
	if err != nil {
		return nil, err
	}
	own := Path(dir, digest)
	var stale []string
	for _, p := range all {
		if p != own {
			stale = append(stale, p)
		}
	}
	return stale, nil
}

func (s layout) encodeHeader() []byte {
	h := make([]byte, 0, headerSize)
	h = append(h, magic...)
	h = binary.LittleEndian.AppendUint16(h, version)
	h = binary.LittleEndian.AppendUint16(h, headerSize)
	h = binary.LittleEndian.AppendUint32(h, uint32(s.dim))
	h = binary.LittleEndian.AppendUint32(h, uint32(s.rowSize()))
	h = append(h, s.digest[:]...)
	h = h[:headerSize-crcSize]
	return binary.LittleEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
}

// checkHeader compares a file's first headerSize bytes with what this shape would write. The version
// is looked at before the checksum, since a newer format may keep that elsewhere.
func (s layout) checkHeader(h []byte) error {
	if string(h[:4]) != magic {
		return errors.New("not a vector table (wrong first bytes): move the file away")
	}
	if v := binary.LittleEndian.Uint16(h[4:]); v > version {
		return fmt.Errorf("%w: format %d, this program reads up to %d: upgrade it, or remove the file and its texts are encoded again",
			ErrNewerFormat, v, version)
	}
	if crc32.Checksum(h[:headerSize-crcSize], castagnoli) != binary.LittleEndian.Uint32(h[headerSize-crcSize:]) {
		return errors.New("the header is damaged: remove the file, its texts are encoded again")
	}
	if !bytes.Equal(h, s.encodeHeader()) {
		return errors.New("the header names another encoder, vector size or format: remove the file, its texts are encoded again")
	}
	return nil
}

// appendRow adds one row to dst and reports whether the vector is finite in float16.
func appendRow(dst []byte, key uint64, vec []float32) ([]byte, bool) {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, key)
	dst, finite := appendFloat16s(dst, vec)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli)), finite
}

// rowKey returns the key of a row, or false when its checksum does not hold. Key 0 means "no text"
// and never has a row.
func rowKey(row []byte) (uint64, bool) {
	body := row[:len(row)-crcSize]
	key := binary.LittleEndian.Uint64(body)
	return key, key != 0 && crc32.Checksum(body, castagnoli) == binary.LittleEndian.Uint32(row[len(body):])
}
