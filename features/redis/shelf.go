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

	"github.com/google/renameio/v2"

	"relish/features/external"
	"relish/internal/redisconn"
)

// Repository is where replicas that share a Redis find imported tables: under TENANT:relish:tables a hash of each
// table's newest version, and under TENANT:relish:table:{DIGEST} its file in pieces, a hash from their
// numbers, with the count of pieces as the last field written.
// What is replaced goes after a while.
type Repository struct {
	conn *redisconn.Conn
	age  time.Duration
}

var _ external.Repository = (*Repository)(nil)

const (
	pieceBytes  = 1 << 20
	pieceCount  = "n"
	replacedTTL = 10 * time.Minute // the life of a former version's file
)

var (
	errNoRedis = errors.New("redis does not answer")
	errPieces  = errors.New("redis has no whole copy of the table's file")
)

// NewRepository returns the shelf of a tenant; age is the life of what nobody uses.
func NewRepository(conn *redisconn.Conn, age time.Duration) *Repository {
	return &Repository{conn, age}
}

func (s *Repository) indexKey() string { return tenantPrefix(s.conn.Prefix) + "tables" }
func (s *Repository) fileKey(digest string) string {
	return tenantPrefix(s.conn.Prefix) + "table:{" + digest + "}"
}

// Current implements tables.Shelf. It renews the life of what it finds.
func (s *Repository) Current(ctx context.Context) (map[string]external.Version, error) {
	if !s.conn.Up() {
		return nil, errNoRedis
	}
	all, err := s.conn.HGetAll(ctx, s.indexKey()).Result()
	if err != nil && !isAbsent(err) {
		return nil, err
	}
	out := map[string]external.Version{}
	if len(all) == 0 {
		return out, nil
	}
	if err := s.conn.PExpire(ctx, s.indexKey(), s.age).Err(); err != nil {
		return nil, err
	}
	for name, raw := range all {
		var v external.Version
		if json.Unmarshal([]byte(raw), &v) != nil {
			continue // whoever uses the table puts it back
		}
		there, err := s.conn.PExpire(ctx, s.fileKey(v.Digest), s.age).Result()
		if err != nil {
			return nil, err
		}
		if there {
			out[name] = v
		}
	}
	return out, nil
}

// Fetch implements tables.Shelf.
func (s *Repository) Fetch(ctx context.Context, v external.Version, path string) error {
	key := s.fileKey(v.Digest)
	n, err := s.conn.HGet(ctx, key, pieceCount).Int()
	if err != nil {
		return fmt.Errorf("%w: %w", errPieces, err)
	}
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	for i := range n {
		piece, err := s.conn.HGet(ctx, key, strconv.Itoa(i)).Result()
		if err != nil {
			return fmt.Errorf("%w: %w", errPieces, err)
		}
		if _, err := io.WriteString(f, piece); err != nil {
			return err
		}
	}
	return f.CloseAtomicallyReplace()
}

// Put implements tables.Shelf.
func (s *Repository) Put(ctx context.Context, name string, v external.Version, path string) error {
	old, err := s.Current(ctx)
	if err != nil || old[name].Newer(v) {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.putFile(ctx, s.fileKey(v.Digest), f); err != nil {
		return err
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := s.conn.HSet(ctx, s.indexKey(), name, raw).Err(); err != nil {
		return err
	}
	if o, known := old[name]; known && o.Digest != v.Digest {
		// Nobody begins to fetch it any more; who has begun may end.
		if err := s.conn.PExpire(ctx, s.fileKey(o.Digest), replacedTTL).Err(); err != nil {
			return err
		}
	}
	return s.conn.PExpire(ctx, s.indexKey(), s.age).Err()
}

// putFile writes the file in pieces, and how many there are at the end.
func (s *Repository) putFile(ctx context.Context, key string, f io.Reader) error {
	n, buf := 0, make([]byte, pieceBytes)
	for {
		size, err := io.ReadFull(f, buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if size == 0 {
			break
		}
		if err := s.conn.HSet(ctx, key, strconv.Itoa(n), buf[:size]).Err(); err != nil {
			return err
		}
		if err := s.conn.PExpire(ctx, key, s.age).Err(); err != nil {
			return err
		}
		n++
	}
	return s.conn.HSet(ctx, key, pieceCount, n).Err()
}
