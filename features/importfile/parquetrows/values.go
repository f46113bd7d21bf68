package parquetrows

import (
	"encoding/binary"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"github.com/google/uuid"
	"github.com/x448/float16"
)

// The functions of this file append a value as JSON.

func appendBool(b []byte, v bool) []byte { return strconv.AppendBool(b, v) }

func appendFloat32(b []byte, v float32) []byte { return appendFloat(b, float64(v), 32) }

func appendFloat64(b []byte, v float64) []byte { return appendFloat(b, v, 64) }

// appendFloat appends null for NaN and infinities, which stand for missing values.
func appendFloat(b []byte, x float64, bits int) []byte {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return append(b, "null"...)
	}
	format := byte('f')
	if abs := math.Abs(x); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, x, format, -1, bits)
}

// appendTime appends a timestamp in RFC 3339.
func appendTime(b []byte, t time.Time) []byte {
	return appendText(b, t.UTC().Format(time.RFC3339Nano))
}

// appendInt96 appends the timestamp that older versions of Spark and Impala write.
func appendInt96(b []byte, v parquet.Int96) []byte { return appendTime(b, v.ToTime()) }

// decimal is a logical type with a decimal point.
type decimal interface{ Scale() int32 }

// integer is a logical type of integers.
type integer interface{ IsSigned() bool }

func int32Writer(logical schema.LogicalType) func([]byte, int32) []byte {
	wide := int64Writer(logical)
	switch t := logical.(type) {
	case schema.DateLogicalType, *schema.DateLogicalType:
		return func(b []byte, days int32) []byte {
			return appendText(b, time.Unix(int64(days)*24*60*60, 0).UTC().Format(time.DateOnly))
		}
	case integer:
		if !t.IsSigned() {
			return func(b []byte, v int32) []byte {
				return strconv.AppendUint(b, uint64(uint32(v)), 10)
			}
		}
	}
	return func(b []byte, v int32) []byte { return wide(b, int64(v)) }
}

func int64Writer(logical schema.LogicalType) func([]byte, int64) []byte {
	switch t := logical.(type) {
	case schema.TimestampLogicalType:
		return timestampWriter(t.TimeUnit())
	case *schema.TimestampLogicalType:
		return timestampWriter(t.TimeUnit())
	case decimal:
		return func(b []byte, v int64) []byte { return appendDecimal(b, big.NewInt(v), t.Scale()) }
	case integer:
		if !t.IsSigned() {
			return func(b []byte, v int64) []byte { return strconv.AppendUint(b, uint64(v), 10) }
		}
	}
	return func(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }
}

func timestampWriter(unit schema.TimeUnitType) func([]byte, int64) []byte {
	return func(b []byte, v int64) []byte {
		switch unit {
		case schema.TimeUnitMillis:
			return appendTime(b, time.UnixMilli(v))
		case schema.TimeUnitMicros:
			return appendTime(b, time.UnixMicro(v))
		}
		return appendTime(b, time.Unix(0, v))
	}
}

// bytesWriter writes texts. Some tools do not say of their texts that they are texts.
func bytesWriter(logical schema.LogicalType) func([]byte, []byte) []byte {
	if t, ok := logical.(decimal); ok {
		return func(b, v []byte) []byte { return appendDecimal(b, bigEndian(v), t.Scale()) }
	}
	return func(b, v []byte) []byte { return appendText(b, string(v)) }
}

func fixedWriter(logical schema.LogicalType) func([]byte, []byte) []byte {
	switch t := logical.(type) {
	case decimal:
		return func(b, v []byte) []byte { return appendDecimal(b, bigEndian(v), t.Scale()) }
	case schema.UUIDLogicalType, *schema.UUIDLogicalType:
		return func(b, v []byte) []byte {
			id, err := uuid.FromBytes(v)
			if err != nil {
				return append(b, "null"...)
			}
			return appendText(b, id.String())
		}
	case schema.Float16LogicalType, *schema.Float16LogicalType:
		return func(b, v []byte) []byte {
			if len(v) != 2 {
				return append(b, "null"...)
			}
			return appendFloat32(b, float16.Frombits(binary.LittleEndian.Uint16(v)).Float32())
		}
	}
	return func(b, v []byte) []byte { return appendText(b, string(v)) }
}

// bigEndian returns the integer that Parquet stores in two's complement.
func bigEndian(v []byte) *big.Int {
	n := new(big.Int).SetBytes(v)
	if len(v) > 0 && v[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
	}
	return n
}

// maxScale bounds the digits after a decimal point: Parquet's decimals have at most 76.
const maxScale = 100

// appendDecimal appends n / 10^scale with all digits.
func appendDecimal(b []byte, n *big.Int, scale int32) []byte {
	if scale < 0 || scale > maxScale {
		return append(b, "null"...)
	}
	digits := new(big.Int).Abs(n).String()
	if pad := int(scale) + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	if n.Sign() < 0 {
		b = append(b, '-')
	}
	whole := len(digits) - int(scale)
	b = append(b, digits[:whole]...)
	if scale > 0 {
		b = append(append(b, '.'), digits[whole:]...)
	}
	return b
}
