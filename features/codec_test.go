package features_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"relish/features"
	"relish/ranker"
)

var update = flag.Bool("update", false, "write the golden files again")

var (
	users = []string{"u0", "u1", "u2", "u3", "u4"}
	items = []string{"i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7", "i8", "i9", "i10", "i11"}
)

// equal compares everything that Read returns for two states.
func equal(t *testing.T, a, b *features.State) {
	t.Helper()
	sch := wide(t)
	for _, u := range append([]string{"nobody"}, users...) {
		x, y := read(t, a, sch, t0, u, items...), read(t, b, sch, t0, u, items...)
		x.Seq, y.Seq = 0, 0
		opts := cmp.Options{cmpopts.EquateNaNs(), cmp.AllowUnexported(ranker.ItemInfo{}),
			cmpopts.IgnoreFields(ranker.ItemInfo{}, "remembered")}
		if d := cmp.Diff(x, y, opts); d != "" {
			t.Fatalf("user %s: %s", u, d)
		}
	}
}

// Packing and decoding every user, item and counter gives an equal state.
func TestPackedRoundTrip(t *testing.T) {
	for seed := range uint64(20) {
		cfg := features.DefaultConfig()
		f := newFeed(cfg)
		random(f, rand.New(rand.NewPCG(seed, 1)), int(seed)*20)
		got := reopened(t, f.State)
		if got.Seq() != f.Seq() {
			t.Errorf("sequence %d, want %d", got.Seq(), f.Seq())
		}
		equal(t, f.State, got)
		// Further events change both alike.
		more := &feed{State: got, seq: f.seq}
		random(f, rand.New(rand.NewPCG(seed, 2)), 50)
		random(more, rand.New(rand.NewPCG(seed, 2)), 50)
		equal(t, f.State, got)
	}
}

func packedUser(t testing.TB) (cfg features.Config, user, it []byte) {
	t.Helper()
	cfg = features.DefaultConfig()
	f := newFeed(cfg)
	random(f, rand.New(rand.NewPCG(7, 7)), 120)
	if f.UserState("u1") == nil || f.ItemState("i1") == nil || f.ItemState("nothing") != nil {
		t.Fatal("the decoded state knows other items or users")
	}
	user = f.AppendUser(nil, "u1", f.UserState("u1"))
	it = f.AppendItem(nil, "i1", f.ItemState("i1"))
	return cfg, user, it
}

// packedParts are an item's state and content in separate values, as a shared store keeps them.
func packedParts(t testing.TB) (whole, state, content []byte) {
	t.Helper()
	f := newFeed(features.DefaultConfig())
	f.add(item("i1", "x", "y"), shown("u", t0, "i1"), did("u", "click", "i1", t0+1))
	it := f.ItemState("i1")
	content = f.AppendContent(nil, it)
	return f.AppendItem(nil, "i1", it), f.AppendItemState(nil, "i1", it), content
}

func loadUser(t *features.Counters, data []byte) error {
	_, _, err := t.DecodeUser(data)
	return err
}

func loadItem(t *features.Counters, data []byte) error {
	_, _, err := t.DecodeItem(data)
	return err
}

func loadContent(t *features.Counters, data []byte) error {
	_, err := t.DecodeContent(data)
	return err
}

// An item in two packed values is equal to the item in one.
func TestSeparateContent(t *testing.T) {
	whole, state, content := packedParts(t)
	counters := features.NewCounters(features.DefaultConfig())
	id, got, err := counters.DecodeItem(state)
	if err != nil || got.Info != nil || got.Hash == 0 {
		t.Fatalf("%v %+v", err, got)
	}
	c, err := counters.DecodeContent(content)
	if err != nil || c.Hash != got.Hash {
		t.Fatalf("%v, hash %x, want %x", err, c.Hash, got.Hash)
	}
	got.Content = *c
	if !bytes.Equal(counters.AppendItem(nil, id, got), whole) {
		t.Error("the two parts differ from the whole item")
	}
}

// Decoding accepts only the exact bytes that were written: every truncation and every flipped bit
// is an error.
func TestDamageIsDetected(t *testing.T) {
	cfg, user, it := packedUser(t)
	_, state, content := packedParts(t)
	for name, c := range map[string]struct {
		good []byte
		load func(*features.Counters, []byte) error
	}{
		"user":    {user, loadUser},
		"item":    {it, loadItem},
		"state":   {state, loadItem},
		"content": {content, loadContent},
	} {
		t.Run(name, func(t *testing.T) {
			s := features.NewCounters(cfg)
			for n := range c.good {
				if c.load(s, c.good[:n]) == nil {
					t.Fatalf("accepted %d of %d bytes", n, len(c.good))
				}
			}
			for bit := range 8 * len(c.good) {
				bad := bytes.Clone(c.good)
				bad[bit/8] ^= 1 << (bit % 8)
				if c.load(s, bad) == nil {
					t.Fatalf("accepted a flipped bit %d", bit)
				}
			}
			if c.load(s, append(bytes.Clone(c.good), 0)) == nil {
				t.Error("accepted an additional byte")
			}
			if err := c.load(s, c.good); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOtherVersionsAndConfigurations(t *testing.T) {
	cfg, user, _ := packedUser(t)
	newer := bytes.Clone(user)
	newer[1] = 99
	if err := loadUser(features.NewCounters(cfg), newer); err == nil ||
		!strings.Contains(err.Error(), "newer relish") {
		t.Errorf("a newer version: %v", err)
	}
	cfg.Actions = append(cfg.Actions, "share")
	if err := loadUser(features.NewCounters(cfg), user); !errors.Is(err, features.ErrLayout) {
		t.Errorf("another configuration: %v", err)
	}
}

// The formats are fixed. Changing one needs a new version number.
func TestFormatsAreFixed(t *testing.T) {
	_, user, it := packedUser(t)
	for name, data := range map[string][]byte{"user": user, "item": it} {
		golden := filepath.Join("testdata", name+".v2")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, want) {
			t.Errorf(
				"the packed %s is not %s; a change of the format needs a new version", name, golden,
			)
		}
	}
}

// Values of the version before are read.
func TestOlderFormatIsRead(t *testing.T) {
	cfg, user, it := packedUser(t)
	counters := features.NewCounters(cfg)
	for name, c := range map[string]struct {
		now  []byte
		load func(*features.Counters, []byte) error
	}{
		"user.v1": {user, loadUser}, "item.v1": {it, loadItem},
	} {
		old, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(old, c.now) {
			t.Errorf("%s is in the present format", name)
		}
		if err := c.load(counters, old); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewerCheckpointIsRefused(t *testing.T) {
	newer := checkpoint(t, newFeed(features.DefaultConfig()).State)
	newer[4] = 99
	_, err := features.ReadCheckpoint(features.DefaultConfig(), bytes.NewReader(newer))
	if err == nil || !strings.Contains(err.Error(), "newer relish") {
		t.Error(err)
	}
}

// For any bytes, decoding returns, and allocates in proportion to their number.
func FuzzLoad(f *testing.F) {
	cfg, user, it := packedUser(f)
	f.Add(user)
	f.Add(it)
	f.Add([]byte("RLCP\x01"))
	f.Add(checkpoint(f, reopened(f, randomFeed().State)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := features.NewCounters(cfg)
		_ = loadUser(s, data)
		_ = loadItem(s, data)
		_ = loadContent(s, data)
		_, _ = s.LoadCounts(data)
		_, _ = features.ReadCheckpoint(cfg, bytes.NewReader(data))
	})
}

func BenchmarkPacked(b *testing.B) {
	cfg, user, it := packedUser(b)
	s := features.NewCounters(cfg)
	b.Run(fmt.Sprintf("DecodeUser/%dB", len(user)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := loadUser(s, user); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(fmt.Sprintf("DecodeItem/%dB", len(it)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := loadItem(s, it); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("AppendUser", func(b *testing.B) {
		b.ReportAllocs()
		buf := []byte{}
		_, u, _ := s.DecodeUser(user)
		for b.Loop() {
			buf = s.AppendUser(buf[:0], "u1", u)
		}
	})
}
