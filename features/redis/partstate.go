package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"relish/features/event"
	"relish/features/eventlog"
	"relish/features/ingest"
)

// partState is what Redis has of a replica's part, as the replica wrote or read it last: its
// manifest, and the marker of its newest batch of records. If Redis has something else, it lost
// writes.
type partState struct{ manifest, marker string }

// newMarker returns the marker of a batch: the sequence of its last record, and a random number.
func newMarker(records []event.Record) string {
	last := uint64(0)
	if len(records) > 0 {
		last = records[len(records)-1].Seq
	}
	return fmt.Sprintf("%d:%016x", last, rand.Uint64())
}

// seqOf returns the sequence in a marker, 0 if there is none.
func seqOf(marker string) uint64 {
	seq, _, _ := strings.Cut(marker, ":")
	n, _ := strconv.ParseUint(seq, 10, 64)
	return n
}

// errPartChanged says that Redis lost writes of this replica.
var errPartChanged = errors.New("redis lost writes of this replica")

// partScript writes to a replica's part if Redis has the state that the replica expects, and
// returns 1. Otherwise it returns 0 and writes nothing: a server that took over without the newest
// writes must keep what says so. A key of another type than hash is deleted.
//
//	KEYS: the part
//	ARGV: manifest and marker that are expected, lifetime in ms, and then fields and values
const partScript = `
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local had = redis.call('HMGET', KEYS[1], '` + manifestField + `', '` + markerField + `')
if (had[1] or '') ~= ARGV[1] or (had[2] or '') ~= ARGV[2] then return 0 end
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i+1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`

// writePart queues partScript, with fields and values in turn.
func (s *Store) writePart(
	ctx context.Context, pipe redis.Pipeliner, p *counterPart, fields ...any,
) *redis.Cmd {
	ttl := s.cfg.MaxAgeDuration().Milliseconds()
	args := append([]any{p.stored.manifest, p.stored.marker, ttl}, fields...)
	return pipe.Eval(ctx, partScript, []string{s.keys.counterPart(p.replicaName())}, args...)
}

// partWritten returns the error of a command that writePart queued.
func partWritten(c *redis.Cmd) error {
	if n, err := c.Int(); err != nil || n == 1 {
		return err
	}
	return errPartChanged
}

// storedPart reads what Redis has of a replica's part.
func (s *Store) storedPart(ctx context.Context, replica uint64) (stored partState, err error) {
	key := s.keys.counterPart(replicaName(replica))
	vals, err := s.conn.HMGet(ctx, key, manifestField, markerField).Result()
	if isAbsent(err) {
		return stored, nil
	}
	if err == nil && len(vals) != 2 {
		err = errors.New("redis: the reply to HMGET has a wrong number of values")
	}
	if err != nil {
		return stored, err
	}
	stored.manifest, _ = vals[0].(string)
	stored.marker, _ = vals[1].(string)
	return stored, nil
}

// manifestOf reads a replica's manifest. It returns nil if there is none or if it is damaged, and
// in any case what Redis has.
func (s *Store) manifestOf(
	ctx context.Context, replica uint64,
) (m *manifest, stored partState, err error) {
	if stored, err = s.storedPart(ctx, replica); err != nil || stored.manifest == "" {
		return nil, stored, err
	}
	if m, err = decodeManifest(stored.manifest, replica); err != nil {
		s.countDamaged(err)
		return nil, stored, nil
	}
	return m, stored, nil
}

// openTimeout bounds what Open asks Redis.
const openTimeout = 500 * time.Millisecond

// usedInRedis returns the newest sequence of this replica's log that Redis has, 0 if Redis does not
// say so at once. A log that ends before it was put back from a backup; its next records would
// count as included.
func (s *Store) usedInRedis() uint64 {
	name, err := eventlog.Replica(ingest.LogDir(s.dir))
	if err != nil || name == "" {
		return 0
	}
	replica, err := parseReplica(name)
	if err != nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	m, stored, err := s.manifestOf(ctx, replica)
	if err != nil || m == nil {
		return 0
	}
	return usedSeq(m, stored)
}

// usedSeq returns the newest sequence of a replica's log that Redis has.
func usedSeq(m *manifest, stored partState) uint64 {
	return max(m.appliedTo, m.applied.last, seqOf(stored.marker))
}
