package bundle_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"relish/ranker"
	"relish/ranker/bundle"
)

// addEncoder gives a bundle a fine-tuned text encoder in name only: no test here reads its files.
func addEncoder(m *bundle.Manifest, files map[string][]byte) {
	m.Encoder = bundle.Encoder{ID: "tuned", Digest: "own8", DigestFP32: "own32", FineTuned: true}
	for _, name := range bundle.EncoderFiles {
		files[name] = []byte("bytes of " + name)
	}
}

// fakeEncoders are encoders that have encoded all texts when the test says so.
type fakeEncoders struct {
	mu       sync.Mutex
	acquired int
	released int
	waiting  map[*fakeVectors]bool
	base     string // what the service's own encoder waits for
	broken   error  // that Acquire returns
	changed  chan struct{}
}

func newFakeEncoders() *fakeEncoders {
	return &fakeEncoders{waiting: map[*fakeVectors]bool{}, changed: make(chan struct{}, 1)}
}

// fakeVectors are the vectors of one bundle.
type fakeVectors struct {
	encoders *fakeEncoders
	digest   string
	released bool
}

func (*fakeVectors) Fetch(context.Context, []*ranker.ItemInfo, [][]float32) {}

func (*fakeVectors) Lookup([]*ranker.ItemInfo, [][]float32) int { return 0 }

// HasText implements ranker.Vectors.
func (*fakeVectors) HasText(it *ranker.ItemInfo) bool { return it != nil && it.TextKey != 0 }

func (v *fakeVectors) Waiting() string {
	v.encoders.mu.Lock()
	defer v.encoders.mu.Unlock()
	if v.encoders.waiting[v] {
		return "1 of 2 texts encoded"
	}
	return ""
}

func (v *fakeVectors) Release() {
	v.encoders.mu.Lock()
	defer v.encoders.mu.Unlock()
	if v.released {
		panic("released twice")
	}
	v.released = true
	v.encoders.released++
}

func (f *fakeEncoders) Acquire(
	_ context.Context, _ string, m *bundle.Manifest,
) (bundle.EncoderVectors, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return nil, f.broken
	}
	v := &fakeVectors{encoders: f, digest: m.Encoder.Digest}
	f.acquired++
	f.waiting[v] = true
	return v, nil
}

func (f *fakeEncoders) BaseWaiting() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.base
}

func (f *fakeEncoders) setBase(waiting string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.base = waiting
}

func (f *fakeEncoders) Changed() <-chan struct{} { return f.changed }

// finish has all encoders encode everything.
func (f *fakeEncoders) finish() {
	f.mu.Lock()
	clear(f.waiting)
	f.mu.Unlock()
	f.changed <- struct{}{}
}

func (f *fakeEncoders) inUse() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acquired - f.released
}

// acquire returns a model of the registry until the test ends.
func acquire(t *testing.T, r *bundle.Registry, version string) *ranker.Model {
	t.Helper()
	m, err := r.Acquire(version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Release)
	return m
}

// A bundle is not served before its encoder has encoded all texts. What was served goes on until
// then, and no request fails at any time.
func TestFineTunedEncoderSwapsWhenTextsAreEncoded(t *testing.T) {
	root := t.TempDir()
	old, tuned := write(t, root, 1, nil), write(t, root, 2, addEncoder)
	encoders := newFakeEncoders()
	r, _ := open(t, root, func(o *bundle.Options) { o.Encoders = encoders })
	follow(t, r)
	if err := r.Activate(t.Context(), old, "", ""); err != nil {
		t.Fatal(err)
	}
	stop := underLoad(4, func() bool {
		v, _, err := rank(r, "")
		if err != nil || v != old && v != tuned {
			t.Errorf("ranked by %s, %v", v, err)
			return false
		}
		return true
	})
	if err := r.Activate(t.Context(), tuned, "", ""); err != nil {
		t.Fatal(err)
	}
	wantActive(t, r, old, "prior")
	state, reason := states(t, r)
	if state[tuned] != ranker.ModelWaiting || !strings.Contains(reason[tuned], "1 of 2") ||
		state[old] != ranker.ModelActive {
		t.Errorf("states %v, reasons %v", state, reason)
	}
	if st := r.Stats(); st.Active != old || !strings.Contains(st.Waiting, "1 of 2") ||
		st.Refused != "" {
		t.Errorf("stats %+v", st)
	}
	if _, err := r.Acquire(tuned); !errors.Is(err, ranker.ErrUnknownModel) {
		t.Errorf("a waiting bundle can be acquired: %v", err)
	}
	if v, err := bundle.Active(root); err != nil || v != tuned {
		t.Errorf("the folder names %s, %v", v, err)
	}
	encoders.finish()
	eventually(t, "the tuned bundle is served", func() bool { return r.Stats().Active == tuned })
	stop()
	wantActive(t, r, tuned, old, "prior")
	if m := acquire(t, r, ""); m.Vectors.(*fakeVectors).digest != "own8" {
		t.Errorf("the model reads the vectors of %+v", m.Vectors)
	}
	// A rollback needs no encoding.
	if v, err := r.Rollback(t.Context(), "", ""); err != nil || v != old {
		t.Fatalf("rolled back to %s, %v", v, err)
	}
	wantActive(t, r, old, "prior")
	if m := acquire(t, r, ""); m.Vectors != nil {
		t.Error("a bundle without a fine-tuned encoder has vectors of its own")
	}
}

// The bundle of an experiment can be acquired as soon as its texts are encoded.
func TestFineTunedEncoderOfAnArm(t *testing.T) {
	root := t.TempDir()
	tuned := write(t, root, 1, addEncoder)
	encoders := newFakeEncoders()
	r, _ := open(t, root, func(o *bundle.Options) { o.Encoders = encoders })
	follow(t, r)
	if failed := r.Require(t.Context(), []string{tuned}); len(failed) > 0 {
		t.Fatal(failed)
	}
	if _, err := r.Acquire(tuned); !errors.Is(err, ranker.ErrUnknownModel) {
		t.Errorf("acquired before its texts are encoded: %v", err)
	}
	encoders.finish()
	eventually(t, "the bundle can be acquired", func() bool {
		m, err := r.Acquire(tuned)
		if err == nil {
			m.Release()
		}
		return err == nil
	})
}

// A bundle whose encoder cannot be opened is refused. A server without text opens no encoder.
func TestFineTunedEncoderRefusedOrNotOpened(t *testing.T) {
	root := t.TempDir()
	tuned := write(t, root, 1, addEncoder)
	encoders := newFakeEncoders()
	encoders.broken = errors.New("the model is damaged")
	r, _ := open(t, root, func(o *bundle.Options) { o.Encoders = encoders })
	err := r.Activate(t.Context(), tuned, "", "")
	if !errors.Is(err, ranker.ErrModelRefused) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("activated: %v", err)
	}
	wantActive(t, r, "prior")
	textless, _ := open(t, root, func(o *bundle.Options) { o.EncoderDigest = "" })
	if err := textless.Activate(t.Context(), tuned, "", ""); err != nil {
		t.Fatal(err)
	}
	wantActive(t, textless, tuned, "prior")
}

// Encoders are released exactly once, after the last request of their bundle, and when a later step
// refuses the bundle.
func TestEncodersAreReleased(t *testing.T) {
	root := t.TempDir()
	plain, tuned := write(t, root, 1, nil), write(t, root, 2, addEncoder)
	encoders := newFakeEncoders()
	var prepareErr error
	var prepared, closed int
	r, _ := open(t, root, func(o *bundle.Options) {
		o.Encoders = encoders
		o.Prepare = func(_ context.Context, dir string, b *bundle.Bundle) error {
			if filepath.Base(dir) == tuned {
				prepared++
				b.OnClose(func() { closed++ })
			}
			return prepareErr
		}
	})
	if err := r.Activate(t.Context(), tuned, "", ""); err != nil {
		t.Fatal(err)
	}
	m, err := r.Acquire(tuned)
	if err == nil {
		t.Fatalf("%s waits and was acquired", m.Version)
	}
	encoders.finish()
	<-encoders.changed // Run does not follow here
	if err := r.Activate(t.Context(), tuned, "", ""); err != nil {
		t.Fatal(err)
	}
	if m, err = r.Acquire(tuned); err != nil {
		t.Fatal(err)
	}
	// Afterwards the fine-tuned bundle is not even the fallback.
	for _, v := range []string{plain, "prior", plain} {
		if err := r.Activate(t.Context(), v, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Acquire(tuned); !errors.Is(err, ranker.ErrUnknownModel) {
		t.Fatalf("a retired model can be acquired: %v", err)
	}
	if n := encoders.inUse(); n != 1 || r.Stats().Open != 2 || closed != 0 {
		t.Errorf("%d encoders in use, %d bundles open, %d closed while a request holds it",
			n, r.Stats().Open, closed)
	}
	m.Release()
	eventually(t, "the encoder is released",
		func() bool { return encoders.inUse() == 0 && r.Stats().Open == 1 })
	if closed != 1 {
		t.Errorf("closed %d times", closed)
	}
	prepareErr = errors.New("no memory on the GPU")
	if err := r.Activate(t.Context(), tuned, "", ""); !errors.Is(err, ranker.ErrModelRefused) {
		t.Errorf("activated: %v", err)
	}
	if prepared != 2 || closed != 2 || encoders.inUse() != 0 {
		t.Errorf("prepared %d times, closed %d times, %d encoders in use",
			prepared, closed, encoders.inUse())
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := r.Stats().Open; n != 0 {
		t.Errorf("%d bundles are open after Close", n)
	}
}
