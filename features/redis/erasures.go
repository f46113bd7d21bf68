package redis

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"relish/features/event"
	"relish/internal/durable"
	"relish/internal/redisconn"
	"relish/ranker"
)

// An erasure must reach every replica, because each has a log of its own. The hash
// TENANT:relish:erasures holds all erasures, by the id of their erase event. A replica that finds
// one which it does not know appends the erase event to its own log, and from then on erases the
// user as if it had got the request. One that knows an erasure which Redis lacks puts it there. So
// an erasure reaches a replica that was away, and it survives the loss of Redis as long as one
// replica that knows it is left. Running replicas renew the lifetime of the keys.
//
// The hash TENANT:relish:erasures:replicas says how far each replica is.

// erasures are the erasures that this replica's log has. Only the syncer uses it.
type erasures struct {
	path    string
	fs      durable.FS
	keys    *event.UserKeys // of the log; the file has encrypted hashes of users
	file    erasuresFile
	unsaved bool      // file has more than the file on disk
	compare bool      // Redis may have others
	at      time.Time // of the last comparison
	status  replicaStatus
}

// erasuresFile is the content of the file "erasures".
type erasuresFile struct {
	Replica string             `json:"replica"` // id of the log
	Known   map[string]erasure `json:"known"`   // by the id of the erase event
}

// eachUser replaces the hash of each user.
func (f *erasuresFile) eachUser(replace func(string) (string, error)) error {
	for id, x := range f.Known {
		hash, err := replace(x.User)
		if err != nil {
			return err
		}
		x.User = hash
		f.Known[id] = x
	}
	return nil
}

// erasure is an erased user.
type erasure struct {
	User string `json:"user"` // features.UserHash; encrypted in the file
	At   int64  `json:"at"`   // arrival of the request, Unix ms
}

// replicaStatus is what a replica says of its erasures.
type replicaStatus struct {
	Known   int   `json:"known"`   // erasures that its log has
	Pending int   `json:"pending"` // erased users whose records are still in its log
	Seen    int64 `json:"seen"`    // when the replica wrote this, Unix ms
}

const (
	// compareEvery is the longest time between two comparisons of all erasures. Those that Redis
	// has more of are found at the next tick.
	compareEvery = time.Minute
	// statusEvery is the longest time between two writes of a replica's status.
	statusEvery = time.Minute
)

func erasuresKey(prefix string) string        { return tenantPrefix(prefix) + "erasures" }
func erasureReplicasKey(prefix string) string { return tenantPrefix(prefix) + "erasures:replicas" }

// openErasures reads the file in a data folder. What it says of another log is ignored.
func openErasures(
	dir, replica string, keys *event.UserKeys, fsys durable.FS,
) (*erasures, error) {
	e := &erasures{path: filepath.Join(dir, "erasures"), fs: fsys, keys: keys, compare: true}
	data, err := os.ReadFile(e.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// What cannot be read is found again in Redis, and erased again, which does no harm.
	if json.Unmarshal(data, &e.file) != nil || e.file.Replica != replica ||
		e.file.eachUser(keys.Decrypt) != nil {
		e.file = erasuresFile{}
	}
	e.file.Replica = replica
	if e.file.Known == nil {
		e.file.Known = map[string]erasure{}
	}
	return e, nil
}

// noteErasures remembers the erasures among the records of the log. It returns when the file has
// them, because Redis must not be told that the records are done before.
func (e *erasures) noteErasures(records []event.Record) error {
	for i := range records {
		ev := &records[i].Event
		if _, known := e.file.Known[ev.ID]; ev.Kind == ranker.EventErase && !known {
			e.file.Known[ev.ID] = erasure{ev.UserHash, ev.Time}
			e.unsaved, e.compare = true, true
		}
	}
	if !e.unsaved {
		return nil
	}
	file := erasuresFile{e.file.Replica, maps.Clone(e.file.Known)}
	encrypt := func(hash string) (string, error) { return e.keys.Encrypt(hash), nil }
	data, err := []byte(nil), file.eachUser(encrypt)
	if err == nil {
		data, err = json.Marshal(file)
	}
	if err == nil {
		err = durable.WriteFile(e.fs, e.path, data)
	}
	e.unsaved = err != nil
	return err
}

// shareErasures brings the erasures in Redis and in the log together, and writes how far this
// replica is.
func (sy *syncer) shareErasures(ctx context.Context) error {
	e, conn := sy.s.erasures, sy.s.conn
	inRedis, err := conn.HLen(ctx, erasuresKey(conn.Prefix)).Result()
	if err != nil {
		return err
	}
	if e.compare || inRedis != int64(len(e.file.Known)) || time.Since(e.at) > compareEvery {
		if err := sy.compareErasures(ctx); err != nil {
			return err
		}
	}
	status := replicaStatus{Known: len(e.file.Known), Pending: sy.s.PendingErasures()}
	now := time.Now().UnixMilli()
	if status.Seen = e.status.Seen; status == e.status &&
		now-status.Seen < statusEvery.Milliseconds() {
		return nil
	}
	status.Seen = now
	raw, err := json.Marshal(status)
	if err != nil {
		return err
	}
	pipe, ttl := conn.Pipeline(), sy.s.cfg.MaxAgeDuration()
	pipe.HSet(ctx, erasureReplicasKey(conn.Prefix), replicaName(sy.s.replica), raw)
	pipe.PExpire(ctx, erasureReplicasKey(conn.Prefix), ttl)
	pipe.PExpire(ctx, erasuresKey(conn.Prefix), ttl)
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	e.status = status
	return nil
}

// compareErasures puts the erasures that only this replica knows into Redis, and appends those that
// only Redis knows to the log. The syncer notes them when it applies their records.
func (sy *syncer) compareErasures(ctx context.Context) error {
	e, conn := sy.s.erasures, sy.s.conn
	all, err := conn.HGetAll(ctx, erasuresKey(conn.Prefix)).Result()
	if err != nil {
		return err
	}
	var missing []any
	for id, known := range e.file.Known {
		if _, has := all[id]; !has {
			raw, err := json.Marshal(known)
			if err != nil {
				return err
			}
			missing = append(missing, id, raw)
		}
	}
	if len(missing) > 0 {
		if err := conn.HSet(ctx, erasuresKey(conn.Prefix), missing...).Err(); err != nil {
			return err
		}
	}
	e.compare, e.at = false, time.Now()
	for id, raw := range all {
		if _, known := e.file.Known[id]; known {
			continue
		}
		var x erasure
		if err := json.Unmarshal([]byte(raw), &x); err != nil || x.User == "" {
			sy.s.countDamaged(errDamaged("an erasure", foreignContent))
			continue
		}
		if err := sy.s.EraseUserHash(ctx, id, x.User, x.At); err != nil {
			e.compare = true // the next tick tries again
			sy.s.log.Error("cannot erase a user that another replica erased; trying again",
				"error", err)
			return nil
		}
	}
	return nil
}

// ReplicaErasures says how far a replica is with erasures.
type ReplicaErasures struct {
	Replica string
	Pending int       // erased users whose records are still in the replica's log
	Missing int       // erasures that the replica has not heard of
	Seen    time.Time // when the replica said so
}

// ReadErasures returns how far each replica of the connection's tenant is, sorted by replica. A
// replica says so every minute while it runs.
func ReadErasures(ctx context.Context, conn *redisconn.Conn) (out []ReplicaErasures, err error) {
	pipe := conn.Pipeline()
	total := pipe.HLen(ctx, erasuresKey(conn.Prefix))
	replicas := pipe.HGetAll(ctx, erasureReplicasKey(conn.Prefix))
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(replicas.Val())) {
		var s replicaStatus
		if json.Unmarshal([]byte(replicas.Val()[name]), &s) == nil {
			out = append(out, ReplicaErasures{
				Replica: name, Pending: s.Pending, Missing: max(0, int(total.Val())-s.Known),
				Seen: time.UnixMilli(s.Seen),
			})
		}
	}
	return out, nil
}
