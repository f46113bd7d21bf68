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
	chunkCount    = 64
	manifestField = "m"
	partMagic     = "RP"
	partVersion   = 1
	maxPartBytes  = 64 << 20 // of one write
)

// counterPart is what one replica counted for the tables.
type counterPart struct {
	replica       uint64
	counters      *features.Counters
	applied       appliedSeqs // the records it includes
	appliedTo     uint64      // the replica's records that its users and items in Redis include, all up to here
	publishedTo   uint64      // done, as the manifest has it
	version       uint64      // of the manifest; 0: none was seen
	chunkVersions [chunkCount]uint64
	dirtyChunks   map[int]bool
}

func newCounterPart(cfg features.Config, replica uint64) *counterPart {
	p := &counterPart{replica: replica, counters: features.NewCounters(cfg), applied: appliedSeqs{replica: replica}, dirtyChunks: map[int]bool{}}
	p.counters.TakeChanged() // from now on changes are noted
	return p
}

func (p *counterPart) includes(seq uint64) bool { return p.applied.includes(seq) }
func (p *counterPart) include(seq uint64) {
	if !p.applied.includes(seq) {
		p.applied.include(seq)
	}
}

func chunkOf(v features.CounterKey) int {
	return int(xxhash.Sum64String(strconv.Itoa(v.Field)+" "+v.Value) % chunkCount)
}

// replicaName is the replica's id as its log has it.
func (p *counterPart) replicaName() string { return fmt.Sprintf("%016x", p.replica) }

// encodeManifest returns the manifest: magic, version, counters as varints, and a CRC-32C.
func (p *counterPart) encodeManifest() []byte {
	b := append([]byte(partMagic), partVersion)
	for _, v := range []uint64{p.version, p.appliedTo, p.applied.upTo, p.applied.first, p.applied.last} {
		b = binary.AppendUvarint(b, v)
	}
	for _, v := range p.chunkVersions {
		b = binary.AppendUvarint(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeManifest reads a manifest into a part without tables.
func decodeManifest(raw string, replica uint64) (*counterPart, error) {
	b := []byte(raw)
	if len(b) < 7 || string(b[:2]) != partMagic {
		return nil, errDamagedValue
	}
	if b[2] > partVersion {
		return nil, fmt.Errorf("a part of the tables has format version %d, this binary reads up to %d: use a newer relish", b[2], partVersion)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, errDamagedValue
	}
	d := varintReader{b: body[3:]}
	p := &counterPart{replica: replica, version: d.uvarint(), appliedTo: d.uvarint()}
	p.applied = appliedSeqs{replica: replica, upTo: d.uvarint(), first: d.uvarint(), last: d.uvarint()}
	for i := range p.chunkVersions {
		p.chunkVersions[i] = d.uvarint()
	}
	if d.bad || len(d.b) > 0 {
		return nil, errDamagedValue
	}
	return p, nil
}

// encodeChunk packs the entries of one chunk.
func (p *counterPart) encodeChunk(n int, values []features.CounterKey) []byte {
	var out, one []byte
	for _, v := range values {
		if chunkOf(v) == n {
			one = p.counters.AppendCounts(one[:0], v)
			out = binary.AppendUvarint(out, uint64(len(one)))
			out = append(out, one...)
		}
	}
	return out
}

// loadChunk puts a chunk's entries into t and returns which they were.
func loadChunk(t *features.Counters, raw string) (values []features.CounterKey, err error) {
	d := varintReader{b: []byte(raw)}
	for len(d.b) > 0 {
		v, err := t.LoadCounts(d.bytes())
		if err != nil {
			return values, err
		}
		values = append(values, v)
	}
	if d.bad {
		return values, errDamagedValue
	}
	return values, nil
}

// publishPart writes the manifest and the chunks that changed.
func (s *Store) publishPart(ctx context.Context, p *counterPart) error {
	// Also where the count begins anew (the part was lost, or restored) no version comes twice: whoever holds an older
	// one sees that this is another.
	p.version = max(p.version+1, uint64(time.Now().UnixMicro()))
	key := s.keys.counterPart(p.replicaName())
	var values []features.CounterKey
	if len(p.dirtyChunks) > 0 {
		values = p.counters.Keys()
	}
	args, size := []any{manifestField, nil}, 0
	var written []int
	for n := range p.dirtyChunks {
		if size > maxPartBytes {
			break // the rest goes with the next write
		}
		p.chunkVersions[n] = p.version
		c := p.encodeChunk(n, values)
		size += len(c)
		written = append(written, n)
		args = append(args, strconv.Itoa(n), c)
	}
	args[1] = p.encodeManifest()
	pipe := s.conn.Pipeline()
	pipe.HSet(ctx, key, args...)
	pipe.PExpire(ctx, key, s.cfg.MaxAgeDuration())
	pipe.SAdd(ctx, s.keys.replicas(), p.replicaName())
	pipe.PExpire(ctx, s.keys.replicas(), s.cfg.MaxAgeDuration())
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for _, n := range written {
		delete(p.dirtyChunks, n)
	}
	p.publishedTo = p.appliedTo
	return nil
}

// manifestOf reads a replica's manifest, nil if there is none that can be read.
func (s *Store) manifestOf(ctx context.Context, replica uint64) (*counterPart, error) {
	raw, err := s.conn.HGet(ctx, s.keys.counterPart(fmt.Sprintf("%016x", replica)), manifestField).Result()
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(raw, replica)
	if err != nil {
		s.countDamaged(err)
		return nil, nil
	}
	return m, nil
}

// loadChunks loads into p.own the chunks that m has and p has not, and returns the entries that changed.
func (s *Store) loadChunks(ctx context.Context, p, m *counterPart) (changed []features.CounterKey, err error) {
	var fields []string
	for i := range m.chunkVersions {
		if m.chunkVersions[i] != p.chunkVersions[i] {
			fields = append(fields, strconv.Itoa(i))
		}
	}
	if len(fields) > 0 {
		vals, err := s.conn.HMGet(ctx, s.keys.counterPart(p.replicaName()), fields...).Result()
		if err != nil {
			return nil, err
		}
		for i := range vals {
			raw, _ := vals[i].(string)
			values, err := loadChunk(p.counters, raw)
			if err != nil {
				s.countDamaged(err)
			}
			changed = append(changed, values...)
		}
	}
	p.version, p.appliedTo, p.applied, p.chunkVersions = m.version, m.appliedTo, m.applied, m.chunkVersions
	return changed, nil
}

// isAbsent reports an answer that is as good as none: no such key, or one of another kind.
func isAbsent(err error) bool { return err == redis.Nil || isWrongType(err) }

func isWrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }
