package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"

	"relish/features"
)

// A replica's part of the counters is a hash in Redis. Field "m" is the manifest. Field "b" is a
// random marker, new with each batch of records that the replica stored. Fields "0" to "63" are the
// chunks: packed counters, each behind its length. The hash of a counter's key gives
// its chunk, so only the chunks that changed are published. The replica alone writes its part,
// always together with the manifest, in one command.
const (
	chunkCount      = 64
	manifestField   = "m"
	markerField     = "b"
	manifestMagic   = "RP"
	manifestVersion = 1

	// maxPartBytes bounds the chunks of one write. The others follow with the next write.
	maxPartBytes = 64 << 20
)

// manifest says what a published part includes.
type manifest struct {
	replica uint64
	version uint64      // never comes twice; 0: nothing was published yet
	applied appliedSeqs // the records that the part's counters include
	// appliedTo: the users and items in Redis include all of the replica's records up to this one.
	appliedTo     uint64
	chunkVersions [chunkCount]uint64 // the version that wrote each chunk last
}

// counterPart is what one replica counted.
type counterPart struct {
	manifest
	counters    *features.Counters
	stored      partState
	publishedTo uint64 // appliedTo of the manifest in stored
	dirtyChunks map[int]bool
	loaded      [chunkCount][]features.CounterKey // what loadChunk found in each chunk
}

func newCounterPart(cfg features.Config, replica uint64) *counterPart {
	p := &counterPart{
		manifest:    manifest{replica: replica, applied: appliedSeqs{replica: replica}},
		counters:    features.NewCounters(cfg),
		dirtyChunks: map[int]bool{},
	}
	p.counters.TakeChanged() // from now on the counters note what changes
	return p
}

func (m *manifest) includes(seq uint64) bool { return m.applied.includes(seq) }

func (m *manifest) include(seq uint64) {
	if !m.applied.includes(seq) {
		m.applied.include(seq)
	}
}

// replicaName is the replica's id as the event log spells it.
func (m *manifest) replicaName() string { return replicaName(m.replica) }

func replicaName(replica uint64) string { return fmt.Sprintf("%016x", replica) }

// encode returns magic, format version, the numbers as varints, and a CRC-32C.
func (m *manifest) encode() []byte {
	b := append([]byte(manifestMagic), manifestVersion)
	a := m.applied
	for _, v := range []uint64{m.version, m.appliedTo, a.upTo, a.first, a.last} {
		b = binary.AppendUvarint(b, v)
	}
	for _, v := range m.chunkVersions {
		b = binary.AppendUvarint(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeManifest(raw string, replica uint64) (*manifest, error) {
	b := []byte(raw)
	what := "the counter manifest of replica " + replicaName(replica)
	if len(b) < 7 {
		return nil, errDamaged(what, truncated)
	}
	if string(b[:2]) != manifestMagic {
		return nil, errDamaged(what, foreignContent)
	}
	if b[2] > manifestVersion {
		return nil, fmt.Errorf("the counters of replica %s have format version %d, "+
			"this relish reads up to %d: upgrade relish",
			replicaName(replica), b[2], manifestVersion)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, errDamaged(what, wrongChecksum)
	}
	d := varintReader{b: body[3:]}
	m := &manifest{replica: replica, version: d.uvarint(), appliedTo: d.uvarint()}
	m.applied = appliedSeqs{
		replica: replica, upTo: d.uvarint(), first: d.uvarint(), last: d.uvarint(),
	}
	for i := range m.chunkVersions {
		m.chunkVersions[i] = d.uvarint()
	}
	if d.bad || len(d.b) > 0 {
		return nil, errDamaged(what, "its length is wrong")
	}
	return m, nil
}

func chunkOf(key features.CounterKey) int {
	return int(xxhash.Sum64String(strconv.Itoa(key.Field)+" "+key.Value) % chunkCount)
}

// encodeChunk packs those of the keys' counters that belong to chunk n.
func (p *counterPart) encodeChunk(n int, keys []features.CounterKey) []byte {
	var out, packed []byte
	for _, key := range keys {
		if chunkOf(key) == n {
			packed = p.counters.AppendCounts(packed[:0], key)
			out = binary.AppendUvarint(out, uint64(len(packed)))
			out = append(out, packed...)
		}
	}
	return out
}

// decodeChunk puts a chunk's counters into c and returns their keys.
func decodeChunk(c *features.Counters, raw string) (keys []features.CounterKey, err error) {
	d := varintReader{b: []byte(raw)}
	for len(d.b) > 0 {
		key, err := c.LoadCounts(d.bytes())
		if err != nil {
			return keys, err
		}
		keys = append(keys, key)
	}
	if d.bad {
		return keys, errDamaged("a chunk of counters", truncated)
	}
	return keys, nil
}

// publishPart writes the manifest and the chunks that changed.
func (s *Store) publishPart(ctx context.Context, p *counterPart) error {
	// The version is a time, so that no version comes twice even if the part was lost or restored.
	// Replicas that hold an older part notice the new one by its version.
	p.version = max(p.version+1, uint64(time.Now().UnixMicro()))
	var keys []features.CounterKey
	if len(p.dirtyChunks) > 0 {
		keys = p.counters.Keys()
	}
	fields, size := []any{manifestField, nil}, 0
	var written []int
	for n := range p.dirtyChunks {
		if size > maxPartBytes {
			break
		}
		p.chunkVersions[n] = p.version
		chunk := p.encodeChunk(n, keys)
		size += len(chunk)
		written = append(written, n)
		fields = append(fields, strconv.Itoa(n), chunk)
	}
	encoded := string(p.encode())
	fields[1] = encoded
	pipe := s.conn.Pipeline()
	stored := s.writePart(ctx, pipe, p, fields...)
	pipe.SAdd(ctx, s.keys.replicas(), p.replicaName())
	pipe.PExpire(ctx, s.keys.replicas(), s.cfg.MaxAgeDuration())
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	if err := partWritten(stored); err != nil {
		return err
	}
	for _, n := range written {
		delete(p.dirtyChunks, n)
	}
	p.stored.manifest, p.publishedTo = encoded, p.appliedTo
	return nil
}

// loadChunks brings p up to the manifest m: it loads the chunks whose version differs. It returns
// the keys of the counters that it loaded.
func (s *Store) loadChunks(
	ctx context.Context, p *counterPart, m *manifest,
) ([]features.CounterKey, error) {
	var fields []string
	var chunks []int
	for i := range m.chunkVersions {
		if m.chunkVersions[i] != p.chunkVersions[i] {
			fields, chunks = append(fields, strconv.Itoa(i)), append(chunks, i)
		}
	}
	var changed []features.CounterKey
	if len(fields) > 0 {
		vals, err := s.conn.HMGet(ctx, s.keys.counterPart(p.replicaName()), fields...).Result()
		if err != nil {
			return nil, err
		}
		if slices.Contains(vals, nil) {
			return nil, errPartChanged // the part has gone since its manifest was read
		}
		for i, n := range chunks {
			raw, _ := vals[i].(string)
			changed = append(changed, s.loadChunk(p, n, raw)...)
		}
	}
	p.manifest = *m
	return changed, nil
}

// loadChunk replaces the counters of chunk n, and returns the keys of those that it had or has. A
// counter may be gone from a part that its replica has counted again.
func (s *Store) loadChunk(p *counterPart, n int, raw string) []features.CounterKey {
	changed := p.loaded[n]
	for _, key := range changed {
		p.counters.SetSum(key) // of nothing
	}
	keys, err := decodeChunk(p.counters, raw)
	if err != nil {
		s.countDamaged(err)
	}
	p.loaded[n] = keys
	return slices.Concat(changed, keys)
}

// ownCountersChanged marks this replica's changed counters as to be published, and adds them up.
func (sy *syncer) ownCountersChanged(changed []features.CounterKey) {
	for _, key := range changed {
		sy.own.dirtyChunks[chunkOf(key)] = true
	}
	sy.sumCounters(changed)
}

// sumCounters sets the store's counters of the given keys to the sum of all parts.
func (sy *syncer) sumCounters(changed []features.CounterKey) {
	if len(changed) == 0 {
		return
	}
	parts := []*features.Counters{sy.own.counters}
	for _, p := range sy.others {
		parts = append(parts, p.counters)
	}
	sy.s.mu.Lock()
	defer sy.s.mu.Unlock()
	for _, key := range changed {
		sy.s.counters.SetSum(key, parts...)
	}
}

// publish writes this replica's part if it has changed.
func (sy *syncer) publish(ctx context.Context) error {
	own := sy.own
	if len(own.dirtyChunks) == 0 && own.version > 0 && own.publishedTo == own.appliedTo {
		return nil
	}
	return sy.s.publishPart(ctx, own)
}

// refreshOthers loads what other replicas have published.
func (sy *syncer) refreshOthers(ctx context.Context) error {
	names, err := sy.s.conn.SMembers(ctx, sy.s.keys.replicas()).Result()
	if err != nil && !isAbsent(err) {
		return err
	}
	var changed []features.CounterKey
	for _, name := range names {
		id, err := strconv.ParseUint(name, 16, 64)
		if err != nil || id == sy.s.replica {
			continue
		}
		m, _, err := sy.s.manifestOf(ctx, id)
		if err != nil {
			return err
		}
		if m == nil {
			continue // not published yet, or expired: what was loaded before stays until a restart
		}
		p := sy.others[id]
		if p == nil {
			p = newCounterPart(sy.s.cfg, id)
			sy.others[id] = p
		}
		if p.version != m.version {
			keys, err := sy.s.loadChunks(ctx, p, m)
			if errors.Is(err, errPartChanged) {
				continue // the next tick looks again
			}
			if err != nil {
				return err
			}
			changed = append(changed, keys...)
		}
	}
	sy.sumCounters(changed)
	return nil
}

// isAbsent reports whether err says that there is no such key, or one of another type.
func isAbsent(err error) bool { return errors.Is(err, redis.Nil) || isWrongType(err) }

func isWrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }
