package vectortable

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"

	"github.com/x448/float16"
)

// The file is a header followed by rows of one size, little-endian:
//
//	0  "RLVT"
//	4  u16 format version
//	6  u16 header size
//	8  u32 dim
//	12 u32 row size
//	16 [32]byte encoder digest (SHA-256)
//	48 zeros
//	60 u32 CRC-32C of the bytes before it
//	64 rows: u64 key, dim x float16, u32 CRC-32C of the row's bytes before it
const (
	magic      = "RLVT"
	version    = 1
	headerSize = 64
	keySize    = 8
	crcSize    = 4
)

// maxDim bounds the components of a vector. Real encoders have 256 to 4,096.
const maxDim = 1 << 16

// ErrNewerFormat says that a newer version of relish wrote the table.
var ErrNewerFormat = errors.New("vector table of a newer format")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errNoTable: the file at the path is something else.
var errNoTable = errors.New("not a vector table (wrong first bytes): move the file away")

// layout is what all rows of a table have in common.
type layout struct {
	dim    int
	digest [32]byte
}

// newLayout checks digest, a SHA-256 in hexadecimal, and dim.
func newLayout(digest string, dim int) (layout, error) {
	s := layout{dim: dim}
	raw, err := hex.DecodeString(digest)
	if err != nil || len(raw) != len(s.digest) {
		return s, fmt.Errorf("encoder digest %q must be a SHA-256, 64 hexadecimal digits", digest)
	}
	if dim < 1 || dim > maxDim {
		return s, fmt.Errorf("vectors with %d components; they must have 1 to %d", dim, maxDim)
	}
	copy(s.digest[:], raw)
	return s, nil
}

func (s layout) rowSize() int { return keySize + 2*s.dim + crcSize }

// Path returns the file in dir that holds the vectors of the encoder with this digest
// (hexadecimal).
func Path(dir, digest string) string {
	return filepath.Join(dir, "vectors-"+digest[:min(16, len(digest))]+".rvt")
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

// checkHeader compares a file's first headerSize bytes with encodeHeader. It checks the version
// before the checksum, because a newer format may have the checksum in another place.
func (s layout) checkHeader(h []byte) error {
	if string(h[:4]) != magic {
		return errNoTable
	}
	if v := binary.LittleEndian.Uint16(h[4:]); v > version {
		return fmt.Errorf("%w: format %d, this relish reads up to %d: upgrade relish, "+
			"or remove the file to have its texts encoded again",
			ErrNewerFormat, v, version)
	}
	sum := binary.LittleEndian.Uint32(h[headerSize-crcSize:])
	if crc32.Checksum(h[:headerSize-crcSize], castagnoli) != sum {
		return errors.New("the header is damaged: " +
			"remove the file to have its texts encoded again")
	}
	if !bytes.Equal(h, s.encodeHeader()) {
		return errors.New("the header is that of another encoder, vector size or format: " +
			"remove the file to have its texts encoded again")
	}
	return nil
}

// appendRow appends one row to dst, and reports whether the vector is finite in float16.
func appendRow(dst []byte, key uint64, vec []float32) ([]byte, bool) {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, key)
	dst, finite := appendFloat16s(dst, vec)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli)), finite
}

// rowKey returns the key of a row, and false if the row's checksum is wrong. Key 0 means "no text"
// and never has a row.
func rowKey(row []byte) (uint64, bool) {
	body := row[:len(row)-crcSize]
	key := binary.LittleEndian.Uint64(body)
	return key, key != 0 &&
		crc32.Checksum(body, castagnoli) == binary.LittleEndian.Uint32(row[len(body):])
}

// RoundToFloat16 replaces each component by the nearest float16 value. A caller that rounds a new
// vector before it uses the vector has the same bits as one that reads the row after a restart.
func RoundToFloat16(vec []float32) {
	for i, v := range vec {
		vec[i] = fromFloat16(uint16(float16.Fromfloat32(v)))
	}
}

// fromFloat16 converts the bits of an IEEE 754 half to a float32. Exponent and mantissa are
// shifted into place. That leaves the exponent 112 too small, which one exact multiplication
// corrects, for subnormal numbers as well. There are no infinities and NaNs, because Append
// refuses them.
func fromFloat16(h uint16) float32 {
	f := math.Float32frombits(uint32(h&0x7fff)<<13) * 0x1p112
	return math.Float32frombits(math.Float32bits(f) | uint32(h&0x8000)<<16)
}

// decodeFloat16s reads len(dst) halves from src.
func decodeFloat16s(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for i := range dst {
		dst[i] = fromFloat16(uint16(src[2*i]) | uint16(src[2*i+1])<<8)
	}
}

// appendFloat16s appends vec as halves to dst, and reports whether all of them are finite.
func appendFloat16s(dst []byte, vec []float32) ([]byte, bool) {
	finite := true
	for _, v := range vec {
		h := float16.Fromfloat32(v)
		finite = finite && h.IsFinite()
		dst = binary.LittleEndian.AppendUint16(dst, uint16(h))
	}
	return dst, finite
}
