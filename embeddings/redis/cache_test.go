package redis_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relish/embeddings"
	"relish/embeddings/redis"
	"relish/embeddings/vectortable"
	"relish/internal/redisconn"
	"relish/internal/redistest"
	"relish/ranker"
)

// After failed dials the client retries once a second until its pool is closed, so that goroutine
// may still be asleep at the end.
func TestMain(m *testing.M) {
	const redial = "github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(redial))
}

const dim = 8

var digest = strings.Repeat("ab", 32)

// newCache returns a cache with a generous timeout, so that no test depends on the speed of the
// machine.
func newCache(t *testing.T, url, digest string, dim int) *redis.Cache {
	t.Helper()
	conn, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := redis.New(conn, digest, dim, time.Hour)
	c.Timeout = time.Minute
	return c
}

func vector(seed float32) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = seed / float32(i+3)
	}
	vectortable.RoundToFloat16(v)
	return v
}

// What one replica puts, another one gets, bit for bit. Vectors of another encoder are not found.
func TestGetAfterPut(t *testing.T) {
	for name, url := range map[string]string{
		"server":  redistest.Start(t).URL() + "?prefix=t",
		"cluster": redistest.StartCluster(t, 3, 0).URL(),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newCache(t, url, digest, dim), newCache(t, url, digest, dim)
			keys := make([]uint64, 300)
			vecs := make([][]float32, len(keys))
			for i := range keys {
				keys[i], vecs[i] = uint64(i*7919+1), vector(float32(i)/300)
			}
			a.Put(t.Context(), keys, vecs)
			got := make([][]float32, len(keys)+1)
			b.Get(t.Context(), append(slices.Clone(keys), 4), got)
			for i := range vecs {
				if !slices.Equal(got[i], vecs[i]) {
					t.Fatalf("vector %d is %v, want %v", i, got[i], vecs[i])
				}
			}
			if got[len(keys)] != nil {
				t.Error("Get found a vector that was not put")
			}
			other := make([][]float32, 1)
			newCache(t, url, strings.Repeat("cd", 32), dim).Get(t.Context(), keys[:1], other)
			if other[0] != nil {
				t.Error("Get found a vector of another encoder")
			}
		})
	}
}

// Garbage, a wrong length, a flipped bit, the value of another key and a list are misses, and
// counted.
func TestDamagedValuesAreMisses(t *testing.T) {
	server := redistest.Start(t)
	c := newCache(t, server.URL(), digest, dim)
	c.Put(t.Context(), []uint64{1, 2}, [][]float32{vector(1), vector(2)})
	key := func(k uint64) string {
		return fmt.Sprintf("relish:v:%s:{%02x}%016x", digest[:16], k%256, k)
	}
	good := server.Do("GET", key(1))
	good = good[strings.Index(good, "\r\n")+2 : len(good)-2]
	bad := map[string]string{
		"empty": "",
		"text":  "garbage",
		"cut":   good[:len(good)-1],
		"long":  good + "x",
		"newer": "RX\x09" + good[3:],
	}
	for bit := range 8 * len(good) {
		flipped := []byte(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		bad[fmt.Sprint("bit ", bit)] = string(flipped)
	}
	for name, raw := range bad {
		server.Do("SET", key(1), raw)
		out := make([][]float32, 1)
		if c.Get(t.Context(), []uint64{1}, out); out[0] != nil {
			t.Errorf("%s (%s) was read as a vector", name, hex.EncodeToString([]byte(raw)))
		}
	}
	server.Do("RENAME", key(2), key(1))
	out := make([][]float32, 1)
	if c.Get(t.Context(), []uint64{1}, out); out[0] != nil {
		t.Error("the value of another key was read as a vector")
	}
	server.Do("DEL", key(1))
	server.Do("LPUSH", key(1), "x")
	if c.Get(t.Context(), []uint64{1}, out); out[0] != nil {
		t.Error("a list was read as a vector")
	}
	if c.Damaged() == 0 {
		t.Error("damaged values are not counted")
	}
}

// model is an encoder that counts the texts that it encodes.
type model struct{ texts atomic.Int64 }

func (*model) Tokenize(dst []int32, text string) []int32 {
	for _, b := range []byte(text) {
		dst = append(dst, int32(b))
	}
	return dst
}

func (m *model) Run(_ context.Context, batch [][]int32, out [][]float32) error {
	m.texts.Add(int64(len(batch)))
	for i := range batch {
		for _, id := range batch[i] {
			out[i][id%dim] += 0.01
		}
	}
	return nil
}
func (*model) Bucket(n int) int   { return n }
func (*model) MixesBuckets() bool { return true }
func (*model) Dim() int           { return dim }
func (*model) MaxTokens() int     { return 128 }
func (*model) Parallel() int      { return 1 }
func (*model) BatchTokens() int   { return 1024 }
func (*model) Digest() string     { return digest }

// A new replica encodes nothing that another one has encoded. Without Redis it encodes everything.
func TestNewReplicaEncodesNothing(t *testing.T) {
	server := redistest.Start(t)
	var items []*ranker.ItemInfo
	for i := range 200 {
		item := ranker.Item{ID: fmt.Sprint(i), Title: fmt.Sprint("title ", i)}
		items = append(items, ranker.NewItemInfo(item, ranker.DefaultTextSpec))
	}
	encodeAll := func() (encoded int64, vecs [][]float32) {
		m := &model{}
		s, err := embeddings.New(m,
			embeddings.Options{Shared: newCache(t, server.URL(), digest, dim)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(context.Background())
		if err := s.EncodeAll(t.Context(), func(yield func(*ranker.ItemInfo, error) bool) {
			for _, it := range items {
				if !yield(it, nil) {
					return
				}
			}
		}, nil); err != nil {
			t.Fatal(err)
		}
		vecs = make([][]float32, len(items))
		s.Lookup(items, vecs)
		return m.texts.Load(), vecs
	}
	n, first := encodeAll()
	if n != int64(len(items)) {
		t.Errorf("the first replica encoded %d texts, want 200", n)
	}
	n, second := encodeAll()
	if n != 0 {
		t.Errorf("the second replica encoded %d texts, want 0", n)
	}
	for i := range first {
		if first[i] == nil || !slices.Equal(first[i], second[i]) {
			t.Fatalf("item %d: %v and %v", i, first[i], second[i])
		}
	}
	server.Kill()
	if n, _ := encodeAll(); n != int64(len(items)) {
		t.Errorf("without Redis %d texts were encoded, want 200", n)
	}
}
