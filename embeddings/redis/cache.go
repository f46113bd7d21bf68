// Package redis is the cache of text vectors that replicas share, so that no replica encodes what
// another one has encoded. It is only a cache: any failure of Redis and any damaged value is a
// miss.
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

	"relish/embeddings"
	"relish/internal/redisconn"
)

// A value holds, little-endian:
//
//	0 "RX"
//	2 format version
//	3 zero
//	4 u16 dimension
//	6 components as float16
//	. u32 CRC-32C of the key and everything before
//
// The checksum includes the key, so that a value under another key is no vector.
const (
	magic      = "RX"
	version    = 1
	headerSize = 6
	crcSize    = 4
)

// defaultTimeout is about as long as the encoder needs for a batch.
const defaultTimeout = 100 * time.Millisecond

// buckets is the number of hash tags, which spread the vectors over the nodes of a cluster.
const buckets = 256

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Cache implements [embeddings.SharedCache] for one encoder. It is safe for concurrent use.
type Cache struct {
	// Timeout bounds one Get or Put. It is 100 ms, and may be changed before the first call.
	Timeout time.Duration

	conn    *redisconn.Conn
	prefix  string
	dim     int
	ttl     time.Duration
	damaged atomic.Int64
}

var _ embeddings.SharedCache = (*Cache)(nil)

// New returns the cache for the encoder with this digest (hexadecimal) and dimension. Vectors
// expire ttl after they were written. The connection stays the caller's.
func New(conn *redisconn.Conn, digest string, dim int, ttl time.Duration) *Cache {
	prefix := "relish:v:" + digest[:min(16, len(digest))] + ":"
	if conn.Prefix != "" {
		prefix = conn.Prefix + ":" + prefix
	}
	return &Cache{Timeout: defaultTimeout, conn: conn, prefix: prefix, dim: dim, ttl: ttl}
}

func (c *Cache) redisKey(key uint64) string {
	return fmt.Sprintf("%s{%02x}%016x", c.prefix, key%buckets, key)
}

// Damaged returns how many values were read that are no vectors of this encoder.
func (c *Cache) Damaged() int64 { return c.damaged.Load() }

// Get implements [embeddings.SharedCache]. It makes one round trip.
func (c *Cache) Get(ctx context.Context, keys []uint64, out [][]float32) {
	if !c.conn.Up() || len(keys) == 0 {
		return
	}
	readCtx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	redisKeys := make([]string, len(keys))
	for i, key := range keys {
		redisKeys[i] = c.redisKey(key)
	}
	vals, err := c.conn.GetMany(readCtx, redisKeys)
	c.report(ctx, err)
	for i, val := range vals {
		if val.Data == "" {
			continue
		}
		if out[i] = c.decode(keys[i], val.Data); out[i] == nil {
			c.damaged.Add(1)
		}
	}
}

// Put implements [embeddings.SharedCache]. It makes one round trip.
func (c *Cache) Put(ctx context.Context, keys []uint64, vecs [][]float32) {
	if !c.conn.Up() {
		return
	}
	writeCtx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	pipe := c.conn.Pipeline()
	for i, key := range keys {
		pipe.Set(writeCtx, c.redisKey(key), encode(key, vecs[i]), c.ttl)
	}
	_, err := pipe.Exec(writeCtx)
	c.report(ctx, err)
}

// report tells the breaker the outcome, unless the caller's context has ended: that failure says
// nothing about Redis.
func (c *Cache) report(callerCtx context.Context, err error) {
	if callerCtx.Err() == nil {
		c.conn.Report(err)
	}
}

func checksum(key uint64, body []byte) uint32 {
	keySum := crc32.Checksum(binary.LittleEndian.AppendUint64(nil, key), castagnoli)
	return crc32.Update(keySum, castagnoli, body)
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

// decode returns the vector, or nil if raw is no finite vector of this encoder for this key.
func (c *Cache) decode(key uint64, raw string) []float32 {
	b := []byte(raw)
	if len(b) != headerSize+2*c.dim+crcSize || raw[:2] != magic || b[2] != version {
		return nil
	}
	if int(binary.LittleEndian.Uint16(b[4:])) != c.dim {
		return nil
	}
	body := b[:len(b)-crcSize]
	if checksum(key, body) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil
	}
	vec := make([]float32, c.dim)
	for i := range vec {
		half := float16.Float16(binary.LittleEndian.Uint16(body[headerSize+2*i:]))
		vec[i] = half.Float32()
		if math.IsNaN(float64(vec[i])) || math.IsInf(float64(vec[i]), 0) {
			return nil
		}
	}
	return vec
}
