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

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const dim = 8

var digest = strings.Repeat("ab", 32)

func level(t *testing.T, url, digest string, dim int) *redis.Cache {
	t.Helper()
	conn, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	v := redis.New(conn, digest, dim, time.Hour)
	v.Timeout = time.Minute // what is tested is not how busy the machine is
	return v
}

func vector(seed float32) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = seed / float32(i+3)
	}
	vectortable.RoundToFloat16(v)
	return v
}

// What one puts, another gets, bit for bit; another encoder's vectors are never met.
func TestShared(t *testing.T) {
	for name, url := range map[string]string{"server": redistest.Start(t).URL() + "?prefix=t", "cluster": redistest.StartCluster(t, 3, 0).URL()} {
		t.Run(name, func(t *testing.T) {
			a, b := level(t, url, digest, dim), level(t, url, digest, dim)
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
				t.Error("a vector that nobody put")
			}
			other := make([][]float32, 1)
			level(t, url, strings.Repeat("cd", 32), dim).Get(t.Context(), keys[:1], other)
			if other[0] != nil {
				t.Error("another encoder's vector")
			}
		})
	}
}

// Row 12 of the fault list: garbage, another length, a flipped bit, another key's value, a list: a miss, counted.
func TestGarbageIsAMiss(t *testing.T) {
	server := redistest.Start(t)
	v := level(t, server.URL(), digest, dim)
	v.Put(t.Context(), []uint64{1, 2}, [][]float32{vector(1), vector(2)})
	key := func(k uint64) string { return fmt.Sprintf("relish:v:%s:{%02x}%016x", digest[:16], k%256, k) }
	good := server.Do("GET", key(1))
	good = good[strings.Index(good, "\r\n")+2 : len(good)-2]
	bad := map[string]string{"empty": "", "text": "garbage", "cut": good[:len(good)-1], "long": good + "x", "newer": "RX\x09" + good[3:]}
	for bit := range 8 * len(good) {
		flipped := []byte(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		bad[fmt.Sprint("bit ", bit)] = string(flipped)
	}
	for name, raw := range bad {
		server.Do("SET", key(1), raw)
		out := make([][]float32, 1)
		if v.Get(t.Context(), []uint64{1}, out); out[0] != nil {
			t.Errorf("%s (%s) is a vector", name, hex.EncodeToString([]byte(raw)))
		}
	}
	server.Do("RENAME", key(2), key(1))
	out := make([][]float32, 1)
	if v.Get(t.Context(), []uint64{1}, out); out[0] != nil {
		t.Error("another key's vector was taken")
	}
	server.Do("DEL", key(1))
	server.Do("LPUSH", key(1), "x")
	if v.Get(t.Context(), []uint64{1}, out); out[0] != nil {
		t.Error("a list is a vector")
	}
	if v.Damaged() == 0 {
		t.Error("nothing was counted")
	}
}

// model is an encoder that counts.
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
func (*model) Bucket(n int) int { return n }
func (*model) Dim() int         { return dim }
func (*model) MaxTokens() int   { return 128 }
func (*model) Parallel() int    { return 1 }
func (*model) BatchTokens() int { return 1024 }
func (*model) Digest() string   { return digest }

// A new replica encodes nothing that another has encoded; without Redis it encodes all by itself.
func TestNewReplicaEncodesNothing(t *testing.T) {
	server := redistest.Start(t)
	var items []*ranker.ItemInfo
	for i := range 200 {
		items = append(items, ranker.NewItemInfo(ranker.Item{ID: fmt.Sprint(i), Title: fmt.Sprint("title ", i)}, ranker.DefaultTextSpec))
	}
	encodeAll := func() (encoded int64, vecs [][]float32) {
		m := &model{}
		s, err := embeddings.New(m, embeddings.Options{Shared: level(t, server.URL(), digest, dim)})
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
		t.Errorf("the first replica encoded %d texts", n)
	}
	n, second := encodeAll()
	if n != 0 {
		t.Errorf("the second replica encoded %d texts", n)
	}
	for i := range first {
		if first[i] == nil || !slices.Equal(first[i], second[i]) {
			t.Fatalf("item %d: %v and %v", i, first[i], second[i])
		}
	}
	server.Kill()
	if n, _ := encodeAll(); n != int64(len(items)) {
		t.Errorf("without Redis %d texts were encoded", n)
	}
}
