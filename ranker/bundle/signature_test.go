package bundle_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relish/ranker"
	"relish/ranker/bundle"
)

// writePEM writes keys, private or public ones, into a file.
func writePEM(t *testing.T, keys ...any) (path string) {
	t.Helper()
	var text []byte
	for _, key := range keys {
		kind, encode := "PRIVATE KEY", x509.MarshalPKCS8PrivateKey
		if _, public := key.(ed25519.PublicKey); public {
			kind, encode = "PUBLIC KEY", x509.MarshalPKIXPublicKey
		}
		der, err := encode(key)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	path = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newKey(t *testing.T) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

// TestSignatures gives a registry the public keys of two of three private keys, and bundles with
// every kind of signature.
func TestSignatures(t *testing.T) {
	oldPublic, oldKey := newKey(t)
	public, key := newKey(t)
	_, otherKey := newKey(t)
	root := t.TempDir()
	sign := func(version string, key ed25519.PrivateKey) {
		t.Helper()
		read, err := bundle.ReadSigningKey(writePEM(t, key))
		if err != nil {
			t.Fatal(err)
		}
		if err := bundle.Sign(root, version, read); err != nil {
			t.Fatal(err)
		}
	}
	old, signed, unsigned := write(t, root, 1, nil), write(t, root, 2, nil), write(t, root, 3, nil)
	other, copied, damaged := write(t, root, 4, nil), write(t, root, 5, nil), write(t, root, 6, nil)
	sign(old, oldKey)
	sign(signed, otherKey)
	sign(signed, key) // in place of the first one
	sign(other, otherKey)
	signature := filepath.Join(root, signed, bundle.SignatureFile)
	text, err := os.ReadFile(signature)
	if err != nil {
		t.Fatal(err)
	}
	for version, text := range map[string]string{copied: string(text), damaged: "yes\n"} {
		path := filepath.Join(root, version, bundle.SignatureFile)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := bundle.ReadPublicKeys(writePEM(t, public, oldPublic))
	if err != nil {
		t.Fatal(err)
	}
	probed := 0
	r, _ := open(t, root, func(o *bundle.Options) {
		o.Keys = keys
		o.Probe = func(ctx context.Context, dir string) error {
			probed++
			return inProcess(ctx, dir)
		}
	})
	for _, version := range []string{old, signed} {
		if err := r.Activate(t.Context(), version, "", ""); err != nil {
			t.Errorf("a signed bundle: %v", err)
		}
	}
	before := probed
	for version, want := range map[string]string{
		unsigned: "it is not signed: train it with --signing-key",
		other:    "its signature is of none of the keys in --bundle-keys",
		copied:   "its signature is of none of the keys in --bundle-keys",
		damaged:  "manifest.sig is damaged: sign the bundle again",
	} {
		err := r.Activate(t.Context(), version, "", "")
		if !errors.Is(err, ranker.ErrModelRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if probed != before {
		t.Errorf("%d bundles without a valid signature were tried", probed-before)
	}
	wantActive(t, r, signed, old, "prior")

	// Somebody who can write the folder makes another bundle active.
	if err := bundle.Activate(root, unsigned, "", ""); err != nil {
		t.Fatal(err)
	}
	again, _ := open(t, root, func(o *bundle.Options) { o.Keys = keys })
	wantActive(t, again, signed, old, "prior")
	anyone, _ := open(t, root, nil)
	wantActive(t, anyone, unsigned, signed, "prior")
}

func TestKeyFiles(t *testing.T) {
	public, private := newKey(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		empty:                           "has no PRIVATE KEY in PEM",
		writePEM(t, public):             "has a PUBLIC KEY, not a PRIVATE KEY",
		writePEM(t, curve):              "it must have one Ed25519 key",
		writePEM(t, private, private):   "it must have one Ed25519 key",
		filepath.Join(empty, "nothing"): "not a directory",
	} {
		_, err := bundle.ReadSigningKey(path)
		if err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "openssl genpkey -algorithm ed25519") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := bundle.ReadPublicKeys(writePEM(t, private)); err == nil ||
		!strings.Contains(err.Error(), "has a PRIVATE KEY, not a PUBLIC KEY") {
		t.Errorf("a private key as a public one: %v", err)
	}
}
