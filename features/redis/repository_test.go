package redis_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"relish/features/external"
	"relish/features/redis"
	"relish/internal/redisconn"
	"relish/internal/redistest"
)

// What one replica puts on the shelf, another one fetches, byte for byte; what is lost is not listed, and
// nothing lives for ever.
func TestShelf(t *testing.T) {
	server := redistest.Start(t)
	conn, err := redisconn.Open(server.URL() + "?prefix=shelf")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	shelf, dir := redis.NewRepository(conn, time.Hour), t.TempDir()
	write := func(size int) (path string, data []byte) {
		data, path = make([]byte, size), filepath.Join(dir, "f")
		_, _ = rand.Read(data)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path, data
	}
	fetched := func(v external.Version) []byte {
		to := filepath.Join(dir, "fetched")
		if err := shelf.Fetch(t.Context(), v, to); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if all, err := shelf.Current(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("an empty shelf: %v, %v", all, err)
	}
	for i, size := range []int{1, 1 << 20, 5<<20 + 17} {
		path, data := write(size)
		v := external.Version{Digest: string(rune('a' + i)), Imported: int64(i + 1)}
		if err := shelf.Put(t.Context(), "shop", v, path); err != nil {
			t.Fatal(err)
		}
		if all, err := shelf.Current(t.Context()); err != nil || len(all) != 1 || all["shop"] != v {
			t.Fatalf("%v, %v", all, err)
		}
		if !bytes.Equal(fetched(v), data) {
			t.Errorf("%d bytes came back as others", size)
		}
	}
	path, _ := write(5)
	if err := shelf.Put(t.Context(), "shop", external.Version{Digest: "old", Imported: 1}, path); err != nil {
		t.Fatal(err)
	}
	all, err := shelf.Current(t.Context())
	if err != nil || all["shop"].Digest != "c" {
		t.Errorf("an older import took its place: %v, %v", all, err)
	}
	keys, err := conn.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		ttl, err := conn.PTTL(t.Context(), k).Result()
		if err != nil || ttl <= 0 || ttl > time.Hour {
			t.Errorf("%s lives for %v (%v)", k, ttl, err)
		}
		if k == "shelf:relish:table:{a}" && ttl > 10*time.Minute {
			t.Errorf("the former version lives for %v", ttl)
		}
	}
	if err := conn.Del(t.Context(), "shelf:relish:table:{c}").Err(); err != nil {
		t.Fatal(err)
	}
	if all, err := shelf.Current(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("a version without its file is listed: %v, %v", all, err)
	}
	if err := shelf.Fetch(t.Context(), external.Version{Digest: "c"}, filepath.Join(dir, "none")); err == nil {
		t.Error("a lost file was fetched")
	}
}
