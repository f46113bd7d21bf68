package event

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// UserKeys hide who was erased. An erase event names its user by features.UserHash, and whoever has
// a list of ids can compute that hash of each of them. So the files of a data folder hold the hash
// encrypted with a random key. The hash is one block of AES. Whoever has the key gets the plain
// hash back, and finds the user by it.
//
// UserKeys are read-only and safe for concurrent use.
type UserKeys struct {
	keys []userKey // the first one encrypts
	lost bool      // hashes that were encrypted with another key stay encrypted
}

// userKey is one key. id tells with which key a hash was encrypted, and says nothing about the key.
type userKey struct {
	secret [aes.BlockSize]byte
	id     string
	block  cipher.Block
}

// ErrUnknownUserKey says that a hash was encrypted with a key that is not there.
var ErrUnknownUserKey = errors.New("the key of an erasure is missing")

// encryptedPrefix begins an encrypted hash. The id of the key and the block follow, in hex, with a
// colon between them.
const encryptedPrefix = "aes:"

// lostKeys is the line of the text form that says that keys are lost for good.
const lostKeys = "lost"

// NewUserKeys returns one new random key.
func NewUserKeys() (*UserKeys, error) {
	var secret [aes.BlockSize]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, err
	}
	k := &UserKeys{}
	if err := k.add(secret[:]); err != nil {
		return nil, err
	}
	return k, nil
}

// ParseUserKeys reads what Text wrote: one key in each line, in hex. The first one encrypts,
// and all of them decrypt. The line "lost" says that other keys are lost, so that Decrypt leaves
// hashes that were encrypted with them as they are. Empty lines and lines that begin with # are
// skipped.
func ParseUserKeys(text []byte) (*UserKeys, error) {
	k := &UserKeys{}
	for n, line := range bytes.Split(text, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if string(line) == lostKeys {
			k.lost = true
			continue
		}
		secret, err := hex.DecodeString(string(line))
		if err == nil {
			err = k.add(secret)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d is not a key of %d hex digits", n+1, 2*aes.BlockSize)
		}
	}
	return k, nil
}

func (k *UserKeys) add(secret []byte) error {
	if len(secret) != aes.BlockSize {
		return errors.New("a key has another length")
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(secret)
	id := hex.EncodeToString(sum[:4])
	k.keys = append(k.keys, userKey{[aes.BlockSize]byte(secret), id, block})
	return nil
}

// Empty reports whether there is no key to encrypt with.
func (k *UserKeys) Empty() bool { return len(k.keys) == 0 }

// With returns these keys, and after them the ones of other.
func (k *UserKeys) With(other *UserKeys) *UserKeys {
	return &UserKeys{append(k.keys[:len(k.keys):len(k.keys)], other.keys...), k.lost || other.lost}
}

// Text returns the form that ParseUserKeys reads. It holds the secrets.
func (k *UserKeys) Text() []byte {
	var b bytes.Buffer
	for i := range k.keys {
		fmt.Fprintf(&b, "%x\n", k.keys[i].secret)
	}
	if k.lost {
		fmt.Fprintln(&b, lostKeys)
	}
	return b.Bytes()
}

// Encrypt returns the encrypted form of a user's hash, the same for each call. It returns anything
// else as it is: that is a hash whose key is lost.
func (k *UserKeys) Encrypt(hash string) string {
	plain, err := hex.DecodeString(hash)
	if err != nil || len(plain) != aes.BlockSize {
		return hash
	}
	encrypted := make([]byte, aes.BlockSize)
	k.keys[0].block.Encrypt(encrypted, plain)
	return encryptedPrefix + k.keys[0].id + ":" + hex.EncodeToString(encrypted)
}

// Decrypt returns the hash that Encrypt encrypted, and a plain hash, as earlier versions wrote it,
// as it is. It fails with ErrUnknownUserKey if the key is not there and not declared lost.
func (k *UserKeys) Decrypt(stored string) (hash string, err error) {
	rest, isEncrypted := strings.CutPrefix(stored, encryptedPrefix)
	if !isEncrypted {
		return stored, nil
	}
	id, encrypted, _ := strings.Cut(rest, ":")
	raw, err := hex.DecodeString(encrypted)
	if err != nil || len(raw) != aes.BlockSize {
		return "", errors.New("an encrypted hash of a user is malformed")
	}
	for i := range k.keys {
		if k.keys[i].id == id {
			k.keys[i].block.Decrypt(raw, raw)
			return hex.EncodeToString(raw), nil
		}
	}
	if k.lost {
		return stored, nil
	}
	return "", fmt.Errorf("%w (key %s)", ErrUnknownUserKey, id)
}
