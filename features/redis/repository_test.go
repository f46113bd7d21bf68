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
	"relish/internal/redistest"
)

// What one replica puts into the repository, another one fetches, byte for byte. A version whose
// file is lost is not listed. Every key expires.
func TestRepository(t *testing.T) {
	conn := connect(t, redistest.Start(t).URL()+"?prefix=shop")
	defer conn.Close()
	repo, dir := redis.NewRepository(conn, time.Hour), t.TempDir()
	writeFile := func(size int) (path string, data []byte) {
		data, path = make([]byte, size), filepath.Join(dir, "f")
		_, _ = rand.Read(data)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path, data
	}
	fetch := func(v external.Version) []byte {
		to := filepath.Join(dir, "fetched")
		if err := repo.Fetch(t.Context(), v, to); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	current := func() map[string]external.Version {
		all, err := repo.Current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}

	if all := current(); len(all) != 0 {
		t.Fatalf("an empty repository lists %v", all)
	}
	for i, size := range []int{1, 1 << 20, 5<<20 + 17} {
		path, data := writeFile(size)
		v := external.Version{Digest: string(rune('a' + i)), Imported: int64(i + 1)}
		if err := repo.Put(t.Context(), "prices", v, path); err != nil {
			t.Fatal(err)
		}
		if all := current(); len(all) != 1 || all["prices"] != v {
			t.Fatalf("after Put of %+v the repository lists %v", v, all)
		}
		if !bytes.Equal(fetch(v), data) {
			t.Errorf("a file of %d bytes came back changed", size)
		}
	}

	path, _ := writeFile(5)
	older := external.Version{Digest: "old", Imported: 1}
	if err := repo.Put(t.Context(), "prices", older, path); err != nil {
		t.Fatal(err)
	}
	if all := current(); all["prices"].Digest != "c" {
		t.Errorf("an older version has replaced a newer one: %v", all)
	}

	keys, err := conn.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		ttl, err := conn.PTTL(t.Context(), k).Result()
		if err != nil || ttl <= 0 || ttl > time.Hour {
			t.Errorf("%s expires after %v (%v), want up to an hour", k, ttl, err)
		}
		if k == "shop:relish:table:{a}" && ttl > 10*time.Minute {
			t.Errorf("the replaced version expires after %v, want up to 10 minutes", ttl)
		}
	}

	if err := conn.Del(t.Context(), "shop:relish:table:{c}").Err(); err != nil {
		t.Fatal(err)
	}
	if all := current(); len(all) != 0 {
		t.Errorf("a version without its file is listed: %v", all)
	}
	lost := external.Version{Digest: "c"}
	if err := repo.Fetch(t.Context(), lost, filepath.Join(dir, "none")); err == nil {
		t.Error("Fetch of a lost file succeeded")
	}
}
