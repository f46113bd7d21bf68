package bundle

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"relish/internal/durable"
	"relish/internal/regularfile"
)

// SignatureFile holds the signature of a bundle's manifest, in hex digits. The manifest has the
// digest of every other file, so the signature covers the whole bundle.
const SignatureFile = "manifest.sig"

// signedPrefix begins what is signed, so that a signature of something else that looks like a
// manifest is none of a bundle.
const signedPrefix = "relish bundle manifest\n"

// maxKeyBytes bounds a file of keys.
const maxKeyBytes = 64 << 10

// ReadSigningKey reads an Ed25519 private key in PEM (PKCS #8), as
// "openssl genpkey -algorithm ed25519" writes it.
func ReadSigningKey(path string) (ed25519.PrivateKey, error) {
	var key ed25519.PrivateKey
	err := readKeys(path, "PRIVATE KEY", func(der []byte) error {
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return err
		}
		private, ok := parsed.(ed25519.PrivateKey)
		if !ok || key != nil {
			return errors.New("it must have one Ed25519 key")
		}
		key = private
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: make a key by: openssl genpkey -algorithm ed25519 "+
			"-out NEW.pem", err)
	}
	return key, nil
}

// ReadPublicKeys reads one or more Ed25519 public keys in PEM, as "openssl pkey -pubout" writes
// them, one after the other.
func ReadPublicKeys(path string) (keys []ed25519.PublicKey, err error) {
	err = readKeys(path, "PUBLIC KEY", func(der []byte) error {
		parsed, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return err
		}
		public, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return errors.New("it must have Ed25519 keys only")
		}
		keys = append(keys, public)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: write the public keys by: openssl pkey -in KEY -pubout", err)
	}
	return keys, nil
}

// readKeys calls use with the contents of each PEM block of a file, all of which must have a kind.
func readKeys(path, kind string, use func(der []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyBytes))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	block, rest := pem.Decode(data)
	if block == nil {
		return fmt.Errorf("%s has no %s in PEM", path, kind)
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != kind {
			return fmt.Errorf("%s has a %s, not a %s", path, block.Type, kind)
		}
		if err := use(block.Bytes); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// Sign signs the bundle of a version in the folder root, in place of an earlier signature. It does
// not read the files that the manifest names: their digests are signed. The signature is durable
// when Sign returns.
func Sign(root, version string, key ed25519.PrivateKey) error {
	dir := filepath.Join(root, version)
	folder, manifest, err := openManifest(dir)
	if err != nil {
		return fmt.Errorf("bundle %s: %w", version, err)
	}
	defer folder.Close()
	signature := ed25519.Sign(key, append([]byte(signedPrefix), manifest...))
	unlock, err := lockRoot(root)
	if err != nil {
		return err
	}
	defer unlock()
	// Beside the bundle, since a bundle with an unknown file is refused. What a killed process
	// leaves is removed by the next lockRoot.
	tmp := temporaryPrefix + SignatureFile
	line := strings.NewReader(hex.EncodeToString(signature) + "\n")
	if err := (&writer{}).writeFile(root, tmp, line); err != nil {
		return err
	}
	err = os.Rename(filepath.Join(root, tmp), filepath.Join(dir, SignatureFile))
	if err != nil {
		return err
	}
	return durable.Disk.SyncDir(dir)
}

// checkSignature returns an error unless one of the keys has signed the manifest of the bundle in
// dir. It returns the manifest's digest, to be compared with that of the bundle that is loaded
// afterwards: the folder's name has the first 12 hex digits only, and it takes some hours of
// computing to find another manifest with the same ones.
func checkSignature(
	dir string, keys []ed25519.PublicKey,
) (digest [sha256.Size]byte, err error) {
	folder, manifest, err := openManifest(dir)
	if err != nil {
		return digest, err
	}
	defer folder.Close()
	if _, err := decodeManifest(filepath.Base(dir), manifest); err != nil {
		return digest, err
	}
	return sha256.Sum256(manifest), verifySignature(folder, manifest, keys)
}

// checkSigned returns an error if the bundle was not loaded from the manifest with this digest.
func (b *Bundle) checkSigned(digest [sha256.Size]byte) error {
	if b.digest != digest {
		return fmt.Errorf("%s was changed while the bundle was loaded: copy the bundle again",
			ManifestFile)
	}
	return nil
}

// verifySignature returns an error unless the signature in the folder is one of the manifest, by
// one of the keys.
func verifySignature(folder *os.Root, manifest []byte, keys []ed25519.PublicKey) error {
	f, err := regularfile.Open(folder, SignatureFile)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it is not signed: train it with --signing-key, or serve without " +
			"--bundle-keys")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 2*ed25519.SignatureSize+2))
	if err != nil {
		return err
	}
	signature, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s is damaged: sign the bundle again", SignatureFile)
	}
	signed := append([]byte(signedPrefix), manifest...)
	for _, key := range keys {
		if ed25519.Verify(key, signed, signature) {
			return nil
		}
	}
	return errors.New("its signature is of none of the keys in --bundle-keys: train it with a " +
		"signing key of these, or add its public key")
}
