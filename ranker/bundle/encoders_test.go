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

// ownEncoder gives a bundle a text encoder, in name only: nobody here looks into its files.
func ownEncoder(m *bundle.Manifest, files map[string][]byte) {
	m.Encoder = bundle.Encoder{ID: "tuned", Digest: "own8", DigestFP32: "own32", FineTuned: true}
	for _, name := range bundle.EncoderFiles {
		files[name] = []byte("bytes of " + name)
	}
}

// texts are encoders whose work is done when the test says so.
type texts struct {
	mu      sync.Mutex
	opened  []string // bundles
	waiting map[ranker.Vectors]bool
	whole   bool // what is opened is complete at once
	broken  error
	changed chan struct{}
}

func newTexts() *texts {
	return &texts{waiting: map[ranker.Vectors]bool{}, changed: make(chan struct{}, 1)}
}

type vectors struct{ of string }

func (*vectors) Fetch(context.Context, []*ranker.ItemInfo, [][]float32) {}

func (*vectors) Lookup([]*ranker.ItemInfo, [][]float32) int { return 0 }

func (x *texts) Open(dir string, m *bundle.Manifest) (ranker.Vectors, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.broken != nil {
		return nil, x.broken
	}
	v := &vectors{m.Encoder.Digest}
	x.opened = append(x.opened, filepath.Base(dir))
	x.waiting[v] = !x.whole
	return v, nil
}

func (x *texts) Waiting(v ranker.Vectors) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.waiting[v] {
		return "1 of 2 texts encoded"
	}
	return ""
}

func (x *texts) Changed() <-chan struct{} { return x.changed }

// done ends the work on all that is open.
func (x *texts) done() {
	x.mu.Lock()
	clear(x.waiting)
	x.mu.Unlock()
	x.changed <- struct{}{}
}

// A bundle whose encoder has not encoded everything is not served until it has; what was served goes on, for requests
// that come all the while.
func TestOwnEncoderSwapsWhenItsVectorsAreThere(t *testing.T) {
	root := t.TempDir()
	old, tuned := write(t, root, 1, nil), write(t, root, 2, ownEncoder)
	x := newTexts()
	r, _ := open(t, root, func(o *bundle.Options) { o.Encoders = x })
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
	if state[tuned] != ranker.ModelWaiting || !strings.Contains(reason[tuned], "1 of 2") || state[old] != ranker.ModelActive {
		t.Errorf("%v %v", state, reason)
	}
	if st := r.Stats(); st.Active != old || !strings.Contains(st.Waiting, "1 of 2") || st.Refused != "" {
		t.Errorf("%+v", st)
	}
	if _, err := r.Model(tuned); !errors.Is(err, ranker.ErrUnknownModel) {
		t.Errorf("a bundle that is not ready can be named: %v", err)
	}
	if v, err := bundle.Active(root); err != nil || v != tuned {
		t.Errorf("the folder says %s, %v", v, err)
	}
	x.done()
	eventually(t, "the tuned one is served", func() bool { return r.Stats().Active == tuned })
	stop()
	wantActive(t, r, tuned, old, "prior")
	if m, err := r.Model(""); err != nil || m.Vectors.(*vectors).of != "own8" {
		t.Errorf("%+v, %v", m, err)
	}
	// Back is at once.
	if v, err := r.Rollback(t.Context(), "", ""); err != nil || v != old {
		t.Fatalf("%s, %v", v, err)
	}
	wantActive(t, r, old, "prior")
	if m, _ := r.Model(""); m.Vectors != nil {
		t.Error("a bundle without an encoder has vectors of its own")
	}
}

// At the start nothing could go on meanwhile: the bundle is served with what vectors there are.
func TestOwnEncoderAtTheStart(t *testing.T) {
	root := t.TempDir()
	tuned := write(t, root, 1, ownEncoder)
	if err := bundle.Activate(root, tuned, "", ""); err != nil {
		t.Fatal(err)
	}
	r, _ := open(t, root, func(o *bundle.Options) { o.Encoders = newTexts() })
	wantActive(t, r, tuned, "prior")
	if st := r.Stats(); st.Waiting != "" || st.Refused != "" {
		t.Errorf("%+v", st)
	}
}

// An experiment's bundle can be named as soon as its vectors are there.
func TestOwnEncoderOfAnArm(t *testing.T) {
	root := t.TempDir()
	tuned := write(t, root, 1, ownEncoder)
	x := newTexts()
	r, _ := open(t, root, func(o *bundle.Options) { o.Encoders = x })
	follow(t, r)
	if failed := r.Require(t.Context(), []string{tuned}); len(failed) > 0 {
		t.Fatal(failed)
	}
	if _, err := r.Model(tuned); !errors.Is(err, ranker.ErrUnknownModel) {
		t.Errorf("before: %v", err)
	}
	x.done()
	eventually(t, "the arm's bundle can be named", func() bool { _, err := r.Model(tuned); return err == nil })
}

// An encoder that does not open refuses its bundle, and without text no encoder is opened.
func TestOwnEncoderRefusedOrLeftOut(t *testing.T) {
	root := t.TempDir()
	tuned := write(t, root, 1, ownEncoder)
	x := newTexts()
	x.broken = errors.New("the model is damaged")
	r, _ := open(t, root, func(o *bundle.Options) { o.Encoders = x })
	if err := r.Activate(t.Context(), tuned, "", ""); !errors.Is(err, ranker.ErrModelRefused) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v", err)
	}
	wantActive(t, r, "prior")
	blind, _ := open(t, root, func(o *bundle.Options) { o.EncoderDigest = "" })
	if err := blind.Activate(t.Context(), tuned, "", ""); err != nil {
		t.Fatal(err)
	}
	wantActive(t, blind, tuned, "prior")
}
