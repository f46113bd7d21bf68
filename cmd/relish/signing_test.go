package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyPair makes a key pair and returns the files of its parts.
func keyPair(t *testing.T) (private, public string) {
	t.Helper()
	publicKey, privateKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte, err error) string {
		path := filepath.Join(dir, name)
		block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err == nil {
			err = os.WriteFile(path, block, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := x509.MarshalPKCS8PrivateKey(privateKey)
	private = write("signing.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(publicKey)
	return private, write("public.pem", "PUBLIC KEY", der, err)
}

// TestSignedBundles trains a bundle with a signing key. A server with its public key ranks with the
// bundle; one with another key ranks with the prior and says why.
func TestSignedBundles(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	private, public := keyPair(t)
	_, other := keyPair(t)
	out, _ := train(t, data, "--config", config, "--force", "a test", "--signing-key", private)
	if !out.Activated {
		t.Fatalf("not activated: %+v", out)
	}
	activate := "/models/" + out.Version + "/activate"
	s := serve(t, "--data", data, "--no-text", "--config", config, "--bundle-keys", public)
	if status, answer := s.post(t, activate, ""); status != http.StatusOK {
		t.Errorf("with the right key: %d %v", status, answer)
	}
	s.stop(t)

	s = serve(t, "--data", data, "--no-text", "--config", config, "--bundle-keys", other)
	status, answer := s.post(t, activate, "")
	if text := fmt.Sprint(answer); status != http.StatusConflict ||
		!strings.Contains(text, "its signature is of none of the keys in --bundle-keys") {
		t.Errorf("with another key: %d %s", status, text)
	}
	s.stop(t)

	printed, err := relish(t, "serve", "--data", data, "--no-text", "--addr", "127.0.0.1:0",
		"--bundle-keys", private).CombinedOutput()
	if err == nil || !strings.Contains(string(printed), "--bundle-keys: ") ||
		!strings.Contains(string(printed), "has a PRIVATE KEY, not a PUBLIC KEY") {
		t.Errorf("with a private key: %v %s", err, printed)
	}
}
