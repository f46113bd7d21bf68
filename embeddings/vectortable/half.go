package vectortable

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"
)

// RoundToFloat16 replaces each component by its nearest float16 value. A caller that rounds a fresh vector
// before use has the same bits in hand as one that reads the row after a restart.
func RoundToFloat16(vec []float32) {
	for i, v := range vec {
		vec[i] = fromFloat16(uint16(float16.Fromfloat32(v)))
	}
}

// fromFloat16 turns IEEE 754 half bits into a float32. Shifting exponent and mantissa into place leaves
// the exponent 112 too small, which one exact multiplication repairs, for subnormals as well.
// Infinities and NaNs do not occur: Append refuses them.
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

// appendFloat16s appends vec as halves to dst and reports whether all of them are finite.
func appendFloat16s(dst []byte, vec []float32) ([]byte, bool) {
	finite := true
	for _, v := range vec {
		h := float16.Fromfloat32(v)
		finite = finite && h.IsFinite()
		dst = binary.LittleEndian.AppendUint16(dst, uint16(h))
	}
	return dst, finite
}
