package bundle

import (
	"crypto/ed25519"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// The digest of what was signed is that of what is loaded, and of no other manifest.
func TestDigestOfSignedManifest(t *testing.T) {
	root := t.TempDir()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(revision string) (dir string) {
		t.Helper()
		files := map[string][]byte{SchemaFile: {1}, ProbeFile: {2}, "gbdt.txt": {3}}
		m := Manifest{
			Format: formatVersion, Created: time.UnixMilli(1_700_000_000_000).UTC(),
			Scorer: ScorerFile{Kind: "gbdt", File: "gbdt.txt"}, Revision: revision,
			Files: DescribeFiles(files),
		}
		manifest, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		version, err := WriteFolder(root, m.Created, manifest, files)
		if err == nil {
			err = Sign(root, version, private)
		}
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(root, version)
	}
	signed, other := write("a"), write("b")
	want, err := checkSignature(signed, []ed25519.PublicKey{public})
	if err != nil {
		t.Fatal(err)
	}
	check := func(dir string) error {
		t.Helper()
		_, digest, err := readFolder(dir, func(_ *File, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return (&Bundle{digest: digest}).checkSigned(want)
	}
	if err := check(signed); err != nil {
		t.Error(err)
	}
	if check(other) == nil {
		t.Error("another manifest passes for the signed one")
	}
}
