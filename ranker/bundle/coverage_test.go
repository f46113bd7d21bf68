package bundle_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/bundle"
)

// startWith opens a registry whose folder names the last of the versions as active. They became
// active in this order.
func startWith(
	t *testing.T, root string, encoders *fakeEncoders, versions ...string,
) (*bundle.Registry, *logs) {
	t.Helper()
	for _, v := range versions {
		if err := bundle.Activate(root, v, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	r, l := open(t, root, func(o *bundle.Options) { o.Encoders = encoders })
	follow(t, r)
	return r, l
}

// At the start, too, a bundle waits until its texts are encoded. The bundle before it ranks, or the
// prior, if their texts are encoded.
func TestFineTunedEncoderWaitsAtTheStart(t *testing.T) {
	for _, withPlain := range []bool{false, true} {
		root, encoders := t.TempDir(), newFakeEncoders()
		plain, tuned := write(t, root, 1, nil), write(t, root, 2, addEncoder)
		versions, serves := []string{tuned}, ranker.PriorVersion
		if withPlain {
			versions, serves = []string{plain, tuned}, plain
		}
		r, log := startWith(t, root, encoders, versions...)
		if st := r.Stats(); st.Active != serves || !strings.Contains(st.Waiting, "1 of 2") {
			t.Errorf("at the start: %+v, want %s to serve", st, serves)
		}
		state, reason := states(t, r)
		if state[tuned] != ranker.ModelWaiting || !strings.Contains(reason[tuned], "1 of 2") {
			t.Errorf("states %v, reasons %v", state, reason)
		}
		if err := r.Activate(t.Context(), tuned, "", ""); err != nil { // looks at it again
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "a model waits until its texts are encoded"); n != 1 {
			t.Errorf("the log says %d times that it waits, want once:\n%s", n, log)
		}
		encoders.finish()
		eventually(t, "the tuned bundle is served",
			func() bool { return r.Stats().Active == tuned })
	}
}

// The bundle before is no fallback, and cannot be asked for, while its texts are not encoded.
func TestPreviousBundleWaits(t *testing.T) {
	root, encoders := t.TempDir(), newFakeEncoders()
	tuned, plain := write(t, root, 1, addEncoder), write(t, root, 2, nil)
	r, _ := startWith(t, root, encoders, tuned, plain)
	wantActive(t, r, plain, "prior")
	if state, _ := states(t, r); state[tuned] != ranker.ModelWaiting {
		t.Errorf("states %v", state)
	}
	if _, err := r.Acquire(tuned); !errors.Is(err, ranker.ErrUnknownModel) {
		t.Errorf("acquired before its texts are encoded: %v", err)
	}
	encoders.finish()
	eventually(t, "the bundle before is the fallback", func() bool {
		state, _ := states(t, r)
		return state[tuned] == ranker.ModelPrevious
	})
	wantActive(t, r, plain, tuned, "prior")
}

// If no texts are encoded by any encoder, waiting would gain nothing: the active bundle is served
// at once.
func TestStartWithoutAnyVectors(t *testing.T) {
	root, encoders := t.TempDir(), newFakeEncoders()
	encoders.base = "0 of 2 texts encoded"
	tuned := write(t, root, 1, addEncoder)
	r, _ := startWith(t, root, encoders, tuned)
	wantActive(t, r, tuned, "prior")
	if st := r.Stats(); st.Waiting != "" || st.Refused != "" {
		t.Errorf("stats %+v", st)
	}
	encoders.setBase("") // the prior could serve now, but what is served stays
	encoders.changed <- struct{}{}
	encoders.changed <- struct{}{} // taken after the first one was handled
	wantActive(t, r, tuned, "prior")
}

// A bundle that reads the vectors of the service's own encoder waits for those, unless the served
// model reads the same ones.
func TestBaseEncoderIsWaitedFor(t *testing.T) {
	root, encoders := t.TempDir(), newFakeEncoders()
	first, second := write(t, root, 1, nil), write(t, root, 2, nil)
	noText := write(t, root, 3, func(m *bundle.Manifest, _ map[string][]byte) {
		m.Encoder = bundle.Encoder{}
	})
	tuned := write(t, root, 4, addEncoder)
	encoders.base = "0 of 2 texts encoded"
	r, _ := startWith(t, root, encoders, first)
	for _, v := range []string{second, ranker.PriorVersion, first, noText} {
		if err := r.Activate(t.Context(), v, "", ""); err != nil {
			t.Fatal(err)
		}
		if active := r.Stats().Active; active != v {
			t.Errorf("%s is served after the activation of %s", active, v)
		}
	}
	if err := r.Activate(t.Context(), tuned, "", ""); err != nil {
		t.Fatal(err)
	}
	encoders.finish()
	eventually(t, "the tuned bundle is served", func() bool { return r.Stats().Active == tuned })
	for _, v := range []string{first, ranker.PriorVersion} {
		if err := r.Activate(t.Context(), v, "", ""); err != nil {
			t.Fatal(err)
		}
		st := r.Stats()
		if st.Active != tuned || !strings.Contains(st.Waiting, v+" is being prepared: 0 of 2") {
			t.Errorf("after the activation of %s: %+v", v, st)
		}
		if state, reason := states(t, r); state[v] != ranker.ModelWaiting || reason[v] == "" {
			t.Errorf("states %v, reasons %v", state, reason)
		}
	}
	encoders.setBase("")
	encoders.changed <- struct{}{}
	eventually(t, "the prior is served",
		func() bool { return r.Stats().Active == ranker.PriorVersion })
	if state, _ := states(t, r); state[ranker.PriorVersion] != ranker.ModelActive {
		t.Errorf("states %v", state)
	}
}

// A large file is copied into the bundle, with its digest in the manifest.
func TestWriteCopiesFiles(t *testing.T) {
	root, path := t.TempDir(), filepath.Join(t.TempDir(), "vectors-00.rvt")
	if err := os.WriteFile(path, []byte("rows"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, files := parts(1)
	addEncoder(&m, files)
	version, err := bundle.Write(root, m, files, path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, version)
	if _, err := bundle.Verify(dir); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "vectors-00.rvt")
	if data, err := os.ReadFile(copied); err != nil || string(data) != "rows" {
		t.Errorf("the copy has %q, %v", data, err)
	}
	if err := os.WriteFile(copied, []byte("ROWS"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Verify(dir); err == nil {
		t.Error("a changed byte of the copied file was not found")
	}
	if _, err := bundle.Write(root, m, files, path+"-0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
}
