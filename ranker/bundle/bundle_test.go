package bundle_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"relish/internal/terms"
	"relish/ranker"
	"relish/ranker/bundle"
	"relish/ranker/scorer"
	"relish/ranker/signals"
)

func TestWriteAndLoad(t *testing.T) {
	root := filepath.Join(t.TempDir(), "new", "bundles")
	v := write(t, root, 2, nil)
	if !bundle.IsVersion(v) {
		t.Fatalf("version %q", v)
	}
	dir := filepath.Join(root, v)
	b, err := bundle.Load(dir, new(signals.Loader).Load)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	want, files := parts(2)
	want.Format, want.Schema, want.Terms = 3, schema().Hash(), terms.Version
	want.Created, want.Files = b.Manifest.Created, b.Manifest.Files
	if diff := cmp.Diff(&want, b.Manifest); diff != "" {
		t.Error(diff)
	}
	if len(b.Manifest.Files) != len(files) || b.Model.Version != v {
		t.Errorf("files %v, version %s", b.Manifest.Files, b.Model.Version)
	}
	_, scores, err := rank(scorer.SingleModel(b.Model), "")
	if err != nil || scores["i0"] != 2 || scores["i1"] != 1 {
		t.Errorf("scores %v, %v", scores, err)
	}
	if _, err := bundle.Verify(dir); err != nil {
		t.Error(err)
	}
	// A second Write of the same bundle is refused: bundles are never overwritten.
	m, files := parts(2)
	m.Created = b.Manifest.Created
	if _, err := bundle.Write(root, m, files); err == nil ||
		!strings.Contains(err.Error(), "already") {
		t.Errorf("written twice: %v", err)
	}
}

// A bundle with any changed, missing or added byte is refused.
func TestDamagedBundleIsRefused(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, write(t, root, 1, nil))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		if _, err := bundle.Load(dir, new(signals.Loader).Load); err == nil {
			t.Errorf("loaded with %s", what)
		}
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		put := func(data []byte) {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		at := func(i int, b byte) {
			if _, err := f.WriteAt([]byte{b}, int64(i)); err != nil {
				t.Fatal(err)
			}
		}
		for i, b := range data {
			at(i, b^1<<(i%8))
			refused(fmt.Sprintf("a flipped bit in byte %d of %s", i, e.Name()))
			at(i, b)
		}
		f.Close()
		for _, n := range []int{0, 1, len(data) / 2, len(data) - 1} {
			put(data[:n])
			refused(fmt.Sprintf("%d bytes of %s", n, e.Name()))
		}
		put(append(data[:len(data):len(data)], '\n'))
		refused("a longer " + e.Name())
		os.Remove(path)
		refused("no " + e.Name())
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		refused("a folder for " + e.Name())
		os.Remove(path)
		if err := syscall.Mkfifo(path, 0o644); err != nil {
			t.Fatal(err)
		}
		refused("a pipe for " + e.Name())
		os.Remove(path)
		outside := filepath.Join(root, "outside")
		err = errors.Join(os.WriteFile(outside, data, 0o644), os.Symlink(outside, path))
		if err != nil {
			t.Fatal(err)
		}
		refused("a link for " + e.Name())
		os.Remove(path)
		put(data)
	}
	extra := filepath.Join(dir, "extra")
	if err := os.WriteFile(extra, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refused("another file")
	os.Remove(extra)
	if _, err := bundle.Load(dir, new(signals.Loader).Load); err != nil {
		t.Errorf("undamaged: %v", err)
	}
	linked := filepath.Join(t.TempDir(), filepath.Base(dir))
	if err := os.Symlink(dir, linked); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Load(linked, new(signals.Loader).Load); err == nil {
		t.Error("loaded through a link")
	}
}

// Forged manifests, whose digests are correct, are refused.
func TestForgedManifests(t *testing.T) {
	const badName = "cannot be a file name"
	for name, c := range map[string]struct{ old, new, err string }{
		"unknown key":  {`"format":`, `"colour": "red", "format":`, "colour"},
		"repeated key": {`"parent":`, `"parent": "", "parent":`, "parent"},
		"another case": {`"parent":`, `"Parent":`, "Parent"},
		"newer": {`"format": 3`, `"format": 4`, "format version 4, this binary reads " +
			"version 3: use a newer relish"},
		"no format":      {`"format": 3`, `"format": 0`, "format is 0"},
		"schema hash":    {`"schema": "`, `"schema": "f`, "schema hash"},
		"escape":         {`"name": "priors.json"`, `"name": "../priors.json"`, badName},
		"absolute":       {`"name": "priors.json"`, `"name": "/etc/passwd"`, badName},
		"twice":          {`"name": "priors.json"`, `"name": "probe.bin"`, "listed twice"},
		"negative size":  {`"bytes": `, `"bytes": -`, "bytes"},
		"huge size":      {`"bytes": `, `"bytes": 99999999999`, "bytes"},
		"short digest":   {`"sha256": "`, `"sha256": "0`, "64 hex digits"},
		"unknown signal": {`"kind": "overlap"`, `"kind": "oracle"`, "oracle"},
		"no such file": {`"kind": "overlap",`,
			`"kind": "overlap", "file": "overlap.bin", "f":`, "f"},
		"unknown scorer": {`"kind": "prior"`, `"kind": "oracle"`, "newer relish"},
		"scorer's file":  {`"kind": "prior",`, `"kind": "prior", "f":`, "f"},
		"holdout":        {`"holdout": 0.1`, `"holdout": 1.1`, "holdout"},
		"two signals": {`"kind": "overlap"`, `"kind": "text"`,
			`two signals write the column "text.mean"`},
		"text after it": {"}\n", "}\n{}\n", bundle.ManifestFile},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			dir := forge(t, filepath.Join(root, write(t, root, 1, nil)), c.old, c.new)
			if _, err := bundle.Load(dir, new(signals.Loader).Load); err == nil ||
				!strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

// A bundle of an older format is refused, and the error says what to do. Its other keys are not
// read: they may be unknown here.
func TestOlderFormatIsRefused(t *testing.T) {
	for _, format := range []string{"1", "2"} {
		root := t.TempDir()
		dir := forge(t, filepath.Join(root, write(t, root, 1, nil)), `"format": 3`,
			`"unknown": [], "format": `+format)
		want := "the bundle has format version " + format + ", this binary reads version 3: " +
			"train again with relish train"
		if _, err := bundle.Load(dir, new(signals.Loader).Load); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := bundle.ReadManifest(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ReadManifest: %v, want %q", err, want)
		}
	}
}

// Parts that do not fit together are refused by Write or by Load, with the reason.
func TestMismatchedParts(t *testing.T) {
	type files = map[string][]byte
	for name, c := range map[string]struct {
		change func(*bundle.Manifest, files)
		err    string
	}{
		"half an encoder": {func(m *bundle.Manifest, f files) {
			addEncoder(m, f)
			delete(f, bundle.EncoderTokenizerFile)
		}, bundle.EncoderTokenizerFile},
		"an encoder that the manifest does not name": {func(_ *bundle.Manifest, f files) {
			f[bundle.EncoderInt8File] = nil
		}, bundle.EncoderInt8File},
		"an encoder without a digest": {func(m *bundle.Manifest, f files) {
			addEncoder(m, f)
			m.Encoder.DigestFP32 = ""
		}, "digest_fp32"},
		"no probe": {func(_ *bundle.Manifest, f files) {
			delete(f, bundle.ProbeFile)
		}, bundle.ProbeFile},
		"no schema": {func(_ *bundle.Manifest, f files) {
			delete(f, bundle.SchemaFile)
		}, bundle.SchemaFile},
		"unknown schema key": {func(_ *bundle.Manifest, f files) {
			f[bundle.SchemaFile] = append(f[bundle.SchemaFile], "x: 1\n"...)
		}, "x"},
		"two documents": {func(_ *bundle.Manifest, f files) {
			f[bundle.SchemaFile] = append(f[bundle.SchemaFile], "---\nx: 1\n"...)
		}, "one YAML document"},
		"empty schema": {func(_ *bundle.Manifest, f files) {
			f[bundle.SchemaFile] = []byte("features: []\n")
		}, "empty"},
		"bad feature": {func(_ *bundle.Manifest, f files) {
			f[bundle.SchemaFile] = []byte("features:\n- {name: a, kind: magic}\n")
		}, "magic"},
		"no signal": {func(m *bundle.Manifest, _ files) {
			m.Signals = m.Signals[:1]
		}, `"overlap.history"`},
		"absent file": {func(m *bundle.Manifest, f files) {
			m.Signals[0].File = "text.bin"
		}, "no file"},
		"infinite metric": {func(m *bundle.Manifest, _ files) {
			i := m.Metrics["ndcg@10"]
			i.High /= 0 * i.Low
			m.Metrics["ndcg@10"] = i
		}, "ndcg@10"},
		"priors": {func(_ *bundle.Manifest, f files) {
			f["priors.json"] = []byte(`{"tables":[],"x":1}`)
		}, "x"},
		"damaged probe": {func(_ *bundle.Manifest, f files) {
			f[bundle.ProbeFile] = f[bundle.ProbeFile][:40]
		}, "truncated"},
		"name": {func(_ *bundle.Manifest, f files) {
			f["../x"] = nil
		}, "cannot be a file name"},
		"hidden": {func(_ *bundle.Manifest, f files) {
			f[".x"] = nil
		}, "cannot be a file name"},
		"other schema": {func(_ *bundle.Manifest, f files) {
			f[bundle.SchemaFile] = []byte("features:\n- {name: a, kind: age}\n")
		}, "lacks"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			m, parts := parts(1)
			c.change(&m, parts)
			v, err := bundle.Write(root, m, parts)
			if err == nil {
				_, err = bundle.Load(filepath.Join(root, v), new(signals.Loader).Load)
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

// A process that is killed while it writes leaves no incomplete bundle, and the next Write removes
// what is left.
func TestKilledWhileWriting(t *testing.T) {
	root := t.TempDir()
	died := 0
	for step := 1; ; step++ {
		cmd := exec.Command(os.Args[0], root, fmt.Sprint(step))
		cmd.Env = append(os.Environ(), "BUNDLE_TEST_CHILD=write")
		out, err := cmd.CombinedOutput()
		versions, listErr := bundle.Versions(root)
		if listErr != nil {
			t.Fatal(listErr)
		}
		for _, v := range versions {
			if _, err := bundle.Load(filepath.Join(root, v), new(signals.Loader).Load); err != nil {
				t.Fatalf("killed at step %d: %v", step, err)
			}
		}
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "killed") {
			t.Fatalf("step %d: %v: %s", step, err, out)
		}
		died++
	}
	if died < 12 {
		t.Errorf("Write has %d steps, want at least 12", died)
	}
	write(t, root, 2, nil)
	wantClean(t, root)
}

// A Write that fails at any step leaves nothing behind.
func TestFailedWrite(t *testing.T) {
	root := t.TempDir()
	m, files := parts(1)
	steps := 0
	for fail := 1; ; fail++ {
		n := 0
		_, err := bundle.WriteInterruptible(root, m, files, func(step string) error {
			if n++; n == fail {
				return errors.New("the disk is gone at: " + step)
			}
			return nil
		})
		if err == nil {
			break
		}
		steps++
		// After the rename the bundle exists, although a power failure could undo the rename.
		if strings.Contains(err.Error(), "sync root") {
			continue
		}
		if v, _ := bundle.Versions(root); len(v) > 0 {
			t.Fatalf("%v: bundle %v exists", err, v)
		}
		wantClean(t, root)
	}
	if steps < 12 {
		t.Errorf("Write has %d steps, want at least 12", steps)
	}
}

// wantClean checks that root contains only bundles and the lock file.
func wantClean(t *testing.T, root string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !bundle.IsVersion(e.Name()) && e.Name() != ".lock" {
			t.Errorf("%s is left over", e.Name())
		}
	}
}

// Whatever a hostile bundle does to the child process that tries it, the parent gets an error.
func TestHostileBundles(t *testing.T) {
	t.Setenv("BUNDLE_TEST_CHILD", "probe")
	for kind, want := range map[string]string{
		"":            "",
		"memory":      "more memory",
		"processor":   "was killed",
		"crash":       "crashed",
		"crash later": "crashed",
		"oracle":      `unknown signal kind "oracle"`,
		"exit":        "before it was done",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			v := write(t, root, 1, func(m *bundle.Manifest, _ map[string][]byte) {
				if kind != "" {
					m.Signals = append(m.Signals, bundle.SignalFile{Kind: kind})
				}
			})
			var args []string
			if kind == "processor" {
				args = []string{shortCPU}
			}
			dir := filepath.Join(root, v)
			err := bundle.ProbeInSandbox(t.Context(), dir, 5*time.Minute, args...)
			if want == "" && err != nil ||
				want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

func TestCheckCompatible(t *testing.T) {
	root := t.TempDir()
	b, err := bundle.Load(filepath.Join(root, write(t, root, 1, nil)), new(signals.Loader).Load)
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New(`needs "buy" of state.actions`)
	for _, c := range []struct {
		encoder string
		check   func(*ranker.Schema) error
		err     string
	}{
		{"e1", nil, ""},
		{"", nil, ""},
		{"e2", nil, "--encoder"},
		{"e1", func(s *ranker.Schema) error {
			if s.Hash() != schema().Hash() {
				t.Error("CheckSchema got another schema")
			}
			return no
		}, no.Error()},
	} {
		if err := b.CheckCompatible(c.encoder, c.check); c.err == "" && err != nil ||
			c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%v, want %q", err, c.err)
		}
	}
}
