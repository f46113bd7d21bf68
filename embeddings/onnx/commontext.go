package onnx

import (
	_ "embed"
	"encoding/binary"
	"math"
	"slices"
)

// commonText is a vector of commonTextEncoders as 32-bit floats, little-endian: the mean of the
// vectors of 300 lists of 24 common English words, of which every fourth one has commas, as tags
// have. TestCommonText computes it again.
//
//go:embed commontext.f32
var commonText []byte

// commonTextEncoders are the first 16 digits of the digests, with texts of defaultMaxTokens, of the
// encoders that `make fetch` and `make fetch-fp32` bring.
var commonTextEncoders = []string{"ba707e0e684a8caf", "80ad20ce5b546188"}

// CommonText returns the mean of the vectors of texts that list common words of all subjects, which
// is shorter than 1. A text about everything is close to it, and so similar to any other text. The
// mean is part of the program, so that it is the same in every process. CommonText returns nil for
// an encoder whose mean is not known. The caller owns the result.
func (e *Encoder) CommonText() []float32 {
	if !e.hasCommonText {
		return nil
	}
	out := make([]float32, len(commonText)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(commonText[4*i:]))
	}
	return out
}

// hasCommonText reports whether CommonText knows an encoder by its files and their digest. With
// another longest text the digest is another one, but the vectors of short texts are the same.
func hasCommonText(f *EncoderFiles, digest string) bool {
	if f.MaxTokens != defaultMaxTokens {
		files := *f
		files.MaxTokens = defaultMaxTokens
		digest = files.Digest()
	}
	return slices.Contains(commonTextEncoders, digest[:16])
}
