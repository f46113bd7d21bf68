package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"relish/features/external"
	"relish/internal/durable"
	"relish/internal/redisconn"
)

// Repository shares imported feature columns between replicas that use the same Redis. The hash
// TENANT:relish:tables holds each table's newest version. The hash TENANT:relish:table:{DIGEST}
// holds that version's file in pieces, by their number. The number of pieces is the last field to
// be written, so a file without it is incomplete. Replaced files expire.
type Repository struct {
	conn *redisconn.Conn
	ttl  time.Duration
}

var _ external.Repository = (*Repository)(nil)

const (
	pieceBytes = 1 << 20
	pieceCount = "n" // the field with the number of pieces

	// replacedTTL is how long a replaced file can still be fetched.
	replacedTTL = 10 * time.Minute
)

var (
	errNoRedis = errors.New("redis does not answer")
	errPieces  = errors.New("redis has no complete copy of the table's file")
)

// NewRepository returns the repository of the connection's tenant. A table that nobody has used
// for ttl expires.
func NewRepository(conn *redisconn.Conn, ttl time.Duration) *Repository {
	return &Repository{conn, ttl}
}

func (r *Repository) indexKey() string { return tenantPrefix(r.conn.Prefix) + "tables" }

func (r *Repository) fileKey(digest string) string {
	return tenantPrefix(r.conn.Prefix) + "table:{" + digest + "}"
}

// Current implements [external.Repository]. It renews the lifetime of what it finds.
func (r *Repository) Current(ctx context.Context) (map[string]external.Version, error) {
	if !r.conn.Up() {
		return nil, errNoRedis
	}
	all, err := r.conn.HGetAll(ctx, r.indexKey()).Result()
	if err != nil && !isAbsent(err) {
		return nil, err
	}
	out := map[string]external.Version{}
	if len(all) == 0 {
		return out, nil
	}
	if err := r.conn.PExpire(ctx, r.indexKey(), r.ttl).Err(); err != nil {
		return nil, err
	}
	for name, raw := range all {
		var v external.Version
		if json.Unmarshal([]byte(raw), &v) != nil {
			continue // a replica that uses the table puts it back
		}
		exists, err := r.conn.PExpire(ctx, r.fileKey(v.Digest), r.ttl).Result()
		if err != nil {
			return nil, err
		}
		if exists {
			out[name] = v
		}
	}
	return out, nil
}

// Fetch implements [external.Repository].
func (r *Repository) Fetch(ctx context.Context, v external.Version, path string) error {
	key := r.fileKey(v.Digest)
	n, err := r.conn.HGet(ctx, key, pieceCount).Int()
	if err != nil {
		return fmt.Errorf("%w: %w", errPieces, err)
	}
	return durable.Replace(durable.Disk, path, func(w io.Writer) error {
		for i := range n {
			piece, err := r.conn.HGet(ctx, key, strconv.Itoa(i)).Result()
			if err != nil {
				return fmt.Errorf("%w: %w", errPieces, err)
			}
			if _, err := io.WriteString(w, piece); err != nil {
				return err
			}
		}
		return nil
	})
}

// Put implements [external.Repository].
func (r *Repository) Put(ctx context.Context, name string, v external.Version, path string) error {
	before, err := r.Current(ctx)
	if err != nil || before[name].Newer(v) {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := r.putFile(ctx, r.fileKey(v.Digest), f); err != nil {
		return err
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := r.conn.HSet(ctx, r.indexKey(), name, raw).Err(); err != nil {
		return err
	}
	if old, known := before[name]; known && old.Digest != v.Digest {
		// No replica starts to fetch the old file any more. One that has started can finish.
		if err := r.conn.PExpire(ctx, r.fileKey(old.Digest), replacedTTL).Err(); err != nil {
			return err
		}
	}
	return r.conn.PExpire(ctx, r.indexKey(), r.ttl).Err()
}

// putFile writes the file in pieces, and their number at the end.
func (r *Repository) putFile(ctx context.Context, key string, f io.Reader) error {
	n, buf := 0, make([]byte, pieceBytes)
	for {
		size, err := io.ReadFull(f, buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if size == 0 {
			break
		}
		if err := r.conn.HSet(ctx, key, strconv.Itoa(n), buf[:size]).Err(); err != nil {
			return err
		}
		if err := r.conn.PExpire(ctx, key, r.ttl).Err(); err != nil {
			return err
		}
		n++
	}
	return r.conn.HSet(ctx, key, pieceCount, n).Err()
}
