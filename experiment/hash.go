package experiment

import (
	"unicode/utf16"
	"unicode/utf8"
)

// FNV-1a, 32 bits (Fowler, Noll, Vo).
const (
	fnvOffset = 0x811c9dc5
	fnvPrime  = 0x01000193
)

// fnv1a continues a hash over the UTF-16 code units of s, as JavaScript's charCodeAt gives them: a frontend
// must find the same arm.
func fnv1a(h uint32, s string) uint32 {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return fnv1aUTF16(h, s[i:])
		}
		h = (h ^ uint32(s[i])) * fnvPrime
	}
	return h
}

// fnv1aUTF16 is fnv of what is not ASCII.
func fnv1aUTF16(h uint32, s string) uint32 {
	for _, r := range s {
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			h = (h ^ uint32(high)) * fnvPrime
			r = low
		}
		h = (h ^ uint32(r)) * fnvPrime
	}
	return h
}

// Bucket is GrowthBook's hash, version 2: where in 0..1, in steps of 1/10000, a value stands under a seed.
func Bucket(seed, value string) float64 { return bucket(fnv1a(fnvOffset, seed), value) }

// bucket is Bucket from the hash state after the seed.
func bucket(state uint32, value string) float64 {
	x := fnv1a(state, value)
	// The decimal digits, from two chains of divisions that the processor runs side by side.
	var digits [10]byte
	for i, high, low := 4, x/100_000, x%100_000; i >= 0; i-- {
		digits[i], digits[i+5] = '0'+byte(high%10), '0'+byte(low%10)
		high, low = high/10, low/10
	}
	at := 0
	for at < 9 && digits[at] == '0' {
		at++
	}
	h := uint32(fnvOffset)
	for _, c := range digits[at:] {
		h = (h ^ uint32(c)) * fnvPrime
	}
	return float64(h%10000) / 10000
}

// Range is the part of 0..1 from Start, including it, to End.
type Range struct{ Start, End float64 }

// Contains reports whether x is in the range.
func (r Range) Contains(x float64) bool { return x >= r.Start && x < r.End }

// Ranges lays out the arms as GrowthBook does: each starts where the weights before it add up to, and
// takes the coverage's share of its own weight. So a growing coverage moves nobody from arm to arm.
func Ranges(coverage float64, weights []float64) []Range {
	out := make([]Range, len(weights))
	sum := 0.0
	for i, w := range weights {
		out[i] = Range{sum, sum + coverage*w}
		sum += w
	}
	return out
}

// Namespace is a part of a namespace: experiments whose parts do not overlap exclude each other.
type Namespace struct {
	ID string
	Range
}

// Includes reports whether the value is in the part. The hash is GrowthBook's, version 1.
func (n *Namespace) Includes(value string) bool {
	h := fnv1a(fnv1a(fnv1a(fnvOffset, value), "__"), n.ID)
	return n.Contains(float64(h%1000) / 1000)
}
