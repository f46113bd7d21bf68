package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"

	"relish/features"
)

// A replica's part of the tables is a Redis hash: field "m" the manifest, fields "0" to "63" the packed
// entries, each behind its length, by the hash of their name. It is written by its replica alone, always
// with the manifest, in one command.
const (
	chunks       = 64
	manifest     = "m"
	partMagic    = "RP"
	partVersion  = 1
	maxPartBytes = 64 << 20 // of one write
)

// part is what one replica counted for the tables.
type part struct {
	replica uint64
	own     *features.Tables
	span    span   // the records it includes
	done    uint64 // the replica's records that its users and items in Redis include, all up to here
	told    uint64 // done, as the manifest has it
	version uint64 // of the manifest; 0: none was seen
	chunks  [chunks]uint64
	dirty   map[int]bool
}

func newPart(cfg features.Config, replica uint64) *part {
	p := &part{replica: replica, own: features.NewTables(cfg), span: span{replica: replica}, dirty: map[int]bool{}}
	p.own.TakeChanged() // from now on changes are noted
	return p
}

func (p *part) has(seq uint64) bool { return p.span.has(seq) }
func (p *part) add(seq uint64) {
	if !p.span.has(seq) {
		p.span.add(seq)
	}
}

func chunkOf(v features.Value) int {
	return int(xxhash.Sum64String(strconv.Itoa(v.Field)+" "+v.Value) % chunks)
}

// name is the replica's id as its log has it.
func (p *part) name() string { return fmt.Sprintf("%016x", p.replica) }

// encodeManifest returns the manifest: magic, version, counters as varints, and a CRC-32C.
func (p *part) encodeManifest() []byte {
	b := append([]byte(partMagic), partVersion)
	for _, v := range []uint64{p.version, p.done, p.span.low, p.span.first, p.span.last} {
		b = binary.AppendUvarint(b, v)
	}
	for _, v := range p.chunks {
		b = binary.AppendUvarint(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeManifest reads a manifest into a part without tables.
func decodeManifest(raw string, replica uint64) (*part, error) {
	b := []byte(raw)
	if len(b) < 7 || string(b[:2]) != partMagic {
		return nil, errValue
	}
	if b[2] > partVersion {
		return nil, fmt.Errorf("a part of the tables has format version %d, this binary reads up to %d: use a newer relish", b[2], partVersion)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, errValue
	}
	d := varints{b: body[3:]}
	p := &part{replica: replica, version: d.next(), done: d.next()}
	p.span = span{replica: replica, low: d.next(), first: d.next(), last: d.next()}
	for i := range p.chunks {
		p.chunks[i] = d.next()
	}
	if d.bad || len(d.b) > 0 {
		return nil, errValue
	}
	return p, nil
}

// encodeChunk packs the entries of one chunk.
func (p *part) encodeChunk(n int, values []features.Value) []byte {
	var out, one []byte
	for _, v := range values {
		if chunkOf(v) == n {
			one = p.own.Append(one[:0], v)
			out = binary.AppendUvarint(out, uint64(len(one)))
			out = append(out, one...)
		}
	}
	return out
}

// loadChunk puts a chunk's entries into t and returns which they were.
func loadChunk(t *features.Tables, raw string) (values []features.Value, err error) {
	d := varints{b: []byte(raw)}
	for len(d.b) > 0 {
		v, err := t.Load(d.bytes())
		if err != nil {
			return values, err
		}
		values = append(values, v)
	}
	if d.bad {
		return values, errValue
	}
	return values, nil
}

// publish writes the manifest and the chunks that changed.
func (s *Store) publish(ctx context.Context, p *part) error {
	// Also where the count begins anew (the part was lost, or restored) no version comes twice: whoever holds an older
	// one sees that this is another.
	p.version = max(p.version+1, uint64(time.Now().UnixMicro()))
	key := s.keys.part(p.name())
	var values []features.Value
	if len(p.dirty) > 0 {
		values = p.own.Values()
	}
	args, size := []any{manifest, nil}, 0
	var written []int
	for n := range p.dirty {
		if size > maxPartBytes {
			break // the rest goes with the next write
		}
		p.chunks[n] = p.version
		c := p.encodeChunk(n, values)
		size += len(c)
		written = append(written, n)
		args = append(args, strconv.Itoa(n), c)
	}
	args[1] = p.encodeManifest()
	pipe := s.conn.Pipeline()
	pipe.HSet(ctx, key, args...)
	pipe.PExpire(ctx, key, s.cfg.Age())
	pipe.SAdd(ctx, s.keys.replicas(), p.name())
	pipe.PExpire(ctx, s.keys.replicas(), s.cfg.Age())
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for _, n := range written {
		delete(p.dirty, n)
	}
	p.told = p.done
	return nil
}

// manifestOf reads a replica's manifest, nil if there is none that can be read.
func (s *Store) manifestOf(ctx context.Context, replica uint64) (*part, error) {
	raw, err := s.conn.HGet(ctx, s.keys.part(fmt.Sprintf("%016x", replica)), manifest).Result()
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(raw, replica)
	if err != nil {
		s.damaged(err)
		return nil, nil
	}
	return m, nil
}

// fill loads into p.own the chunks that m has and p has not, and returns the entries that changed.
func (s *Store) fill(ctx context.Context, p, m *part) (changed []features.Value, err error) {
	var fields []string
	for i := range m.chunks {
		if m.chunks[i] != p.chunks[i] {
			fields = append(fields, strconv.Itoa(i))
		}
	}
	if len(fields) > 0 {
		vals, err := s.conn.HMGet(ctx, s.keys.part(p.name()), fields...).Result()
		if err != nil {
			return nil, err
		}
		for i := range vals {
			raw, _ := vals[i].(string)
			values, err := loadChunk(p.own, raw)
			if err != nil {
				s.damaged(err)
			}
			changed = append(changed, values...)
		}
	}
	p.version, p.done, p.span, p.chunks = m.version, m.done, m.span, m.chunks
	return changed, nil
}

// absent reports an answer that is as good as none: no such key, or one of another kind.
func absent(err error) bool { return err == redis.Nil || wrongType(err) }

func wrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }
