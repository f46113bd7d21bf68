// Package redis is the level of vectors that replicas share, so that what one has encoded no other encodes
// again. It is a cache and no more: whatever is wrong with Redis or with a value is a miss.
package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"sync/atomic"
	"time"

	"github.com/x448/float16"

	"relish/internal/redisconn"
)

// A value is "RX", a format version, a spare byte, the dimension (2 bytes), the components as float16, and a
// CRC-32C of all before and of the key, so that a value under another key is no vector. Little endian.
const (
	magic      = "RX"
	version    = 1
	headerSize = 6
	crcSize    = 4
)

// defaultTimeout: the encoder would have made a batch in about as long.
const defaultTimeout = 100 * time.Millisecond

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Cache is the shared level for one encoder. It implements embeddings.Shared.
type Cache struct {
	// Timeout bounds one question or offer, 0.1 s unless it is changed before the first one.
	Timeout time.Duration

	conn    *redisconn.Conn
	prefix  string
	dim     int
	ttl     time.Duration
	damaged atomic.Int64
}

// New returns the level on a connection, which stays the caller's, for the encoder with this digest and
// dimension. Vectors live for ttl after they were written.
func New(conn *redisconn.Conn, digest string, dim int, ttl time.Duration) *Cache {
	prefix := "relish:v:" + digest[:min(16, len(digest))] + ":"
	if conn.Prefix != "" {
		prefix = conn.Prefix + ":" + prefix
	}
	return &Cache{Timeout: defaultTimeout, conn: conn, prefix: prefix, dim: dim, ttl: ttl}
}

// buckets is how many places of a cluster the vectors are spread over.
const buckets = 256

func (v *Cache) key(k uint64) string { return fmt.Sprintf("%s{%02x}%016x", v.prefix, k%buckets, k) }

// Damaged returns how many values were no vectors.
func (v *Cache) Damaged() int64 { return v.damaged.Load() }

// Get implements embeddings.Shared: one round trip.
func (v *Cache) Get(ctx context.Context, keys []uint64, out [][]float32) {
	if !v.conn.Up() || len(keys) == 0 {
		return
	}
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = v.key(k)
	}
	vals, err := v.conn.GetMany(ctx, names)
	v.report(asked, err)
	for i, val := range vals {
		if raw, ok := val.(string); ok {
			if out[i] = v.decode(keys[i], raw); out[i] == nil {
				v.damaged.Add(1)
			}
		}
	}
}

// Put implements embeddings.Shared: one round trip.
func (v *Cache) Put(ctx context.Context, keys []uint64, vecs [][]float32) {
	if !v.conn.Up() {
		return
	}
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	pipe := v.conn.Pipeline()
	for i, k := range keys {
		pipe.Set(ctx, v.key(k), encode(k, vecs[i]), v.ttl)
	}
	_, err := pipe.Exec(ctx)
	v.report(asked, err)
}

// report tells the breaker, unless the caller has gone, which says nothing about Redis.
func (v *Cache) report(ctx context.Context, err error) {
	if ctx.Err() == nil {
		v.conn.Report(err)
	}
}

func checksum(key uint64, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(binary.LittleEndian.AppendUint64(nil, key), castagnoli), castagnoli, body)
}

func encode(key uint64, vec []float32) []byte {
	b := make([]byte, 0, headerSize+2*len(vec)+crcSize)
	b = append(b, magic...)
	b = append(b, version, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(vec)))
	for _, x := range vec {
		b = binary.LittleEndian.AppendUint16(b, uint16(float16.Fromfloat32(x)))
	}
	return binary.LittleEndian.AppendUint32(b, checksum(key, b))
}

// decode returns the vector, nil for anything that is not one of this encoder's for this key.
func (v *Cache) decode(key uint64, raw string) []float32 {
	b := []byte(raw)
	if len(b) != headerSize+2*v.dim+crcSize || raw[:2] != magic || b[2] != version || int(binary.LittleEndian.Uint16(b[4:])) != v.dim {
		return nil
	}
	body := b[:len(b)-crcSize]
	if checksum(key, body) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil
	}
	vec := make([]float32, v.dim)
	for i := range vec {
		vec[i] = float16.Float16(binary.LittleEndian.Uint16(body[headerSize+2*i:])).Float32()
		if math.IsNaN(float64(vec[i])) || math.IsInf(float64(vec[i]), 0) {
			return nil
		}
	}
	return vec
}
