package features_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"relish/features"
	"relish/features/storetest"
)

// randomFeed returns a state with items and users of every kind, the same at each call. The
// committed checkpoints were counted without a bound on newcomers.
func randomFeed() *feed {
	cfg := features.DefaultConfig()
	cfg.NewcomerExcess = 0
	f := newFeed(cfg)
	random(f, rand.New(rand.NewPCG(7, 7)), 200)
	return f
}

// reopened returns the state that its checkpoint gives, whose users are packed.
func reopened(t testing.TB, s *features.State) *features.State {
	t.Helper()
	got, err := features.ReadCheckpoint(s.Config(), bytes.NewReader(checkpoint(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The format of a checkpoint is fixed, and the version before is read.
func TestCheckpointFormatIsFixed(t *testing.T) {
	f := randomFeed()
	packed := checkpoint(t, reopened(t, f.State))
	golden := filepath.Join("testdata", "checkpoint.v6")
	if *update {
		if err := os.WriteFile(golden, packed, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(packed, want) {
		t.Errorf("the checkpoint is not %s; a change of the format needs a new version", golden)
	}
	for _, version := range []string{"v4", "v5", "v6"} {
		file, err := os.Open(filepath.Join("testdata", "checkpoint."+version))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		got, err := features.ReadCheckpoint(f.Config(), file)
		if err != nil {
			t.Errorf("%s: %v", version, err)
		} else if !bytes.Equal(storetest.Bytes(got), storetest.Bytes(f.State)) {
			t.Errorf("%s gives another state", version)
		}
	}
}

// Every truncation and every flipped byte is an error, with unpacked and with packed users.
func TestCheckpointDamage(t *testing.T) {
	f := newFeed(features.DefaultConfig())
	random(f, rand.New(rand.NewPCG(3, 3)), 60)
	for name, s := range map[string]*features.State{
		"unpacked": f.State, "packed": reopened(t, f.State),
	} {
		t.Run(name, func(t *testing.T) {
			good := checkpoint(t, s)
			fails := func(data []byte) bool {
				_, err := features.ReadCheckpoint(f.Config(), bytes.NewReader(data))
				return err != nil
			}
			for n := 0; n < len(good); n += 7 {
				if !fails(good[:n]) {
					t.Fatalf("accepted %d of %d bytes", n, len(good))
				}
			}
			for at := range good {
				bad := bytes.Clone(good)
				bad[at] ^= 0x10
				if !fails(bad) {
					t.Fatalf("accepted a flipped byte %d", at)
				}
			}
			if fails(good) {
				t.Error("refused what was written")
			}
		})
	}
}

// Reading a packed user allocates the user, the id and the bytes, and a share of the tables.
func TestReadCheckpointAllocations(t *testing.T) {
	const users = 5000
	s := features.New(features.DefaultConfig())
	storetest.Fill(s, storetest.Filling{Items: 50, Users: users, Clicks: 3})
	file := checkpoint(t, reopened(t, s))
	n := testing.AllocsPerRun(3, func() {
		if _, err := features.ReadCheckpoint(s.Config(), bytes.NewReader(file)); err != nil {
			t.Fatal(err)
		}
	})
	if n > 4*users {
		t.Errorf("%.1f allocations for each user, want at most 4", n/users)
	}
}
