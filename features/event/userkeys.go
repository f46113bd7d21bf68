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
// a list of ids can compute that hash of each of them. So files and Redis hold a sealed hash: the
// hash encrypted with a random key. As the hash is one block of AES, this is a keyed hash of the
// user's id; whoever has the key gets the plain hash back, and finds the user by it.
//
// UserKeys are read-only and safe for concurrent use.
type UserKeys struct {
	keys []userKey // the first one seals
	lost bool      // hashes that were sealed with another key stay sealed
}

// userKey is one key. id tells with which key a hash was sealed, and says nothing about the key.
type userKey struct {
	secret [aes.BlockSize]byte
	id     string
	block  cipher.Block
}

// ErrUnknownUserKey says that a hash was sealed with a key that is not there.
var ErrUnknownUserKey = errors.New("the key of an erasure is missing")

// sealedPrefix begins a sealed hash. The id of the key and the encrypted hash follow, in hex, with
// a colon between them.
const sealedPrefix = "aes:"

// lostKeys is the line of the text form that says that keys are lost for good.
const lostKeys = "lost"

// NewUserKeys returns one new random key.
func NewUserKeys() (*UserKeys, error) {
	var secret [aes.BlockSize]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, err
	}
	k := &UserKeys{}
	return k, k.add(secret[:])
}

// ParseUserKeys reads what Text wrote: one key in each line, in hex. The first one seals, and all
// of them open. The line "lost" says that other keys are lost, so that Open leaves hashes that were
// sealed with them as they are. Empty lines and lines that begin with # say nothing.
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

// Empty reports whether there is no key to seal with.
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

// Seal returns the sealed form of a user's hash, the same for each call. What is no plain hash
// stays as it is: it is a hash that Open could not open.
func (k *UserKeys) Seal(hash string) string {
	plain, err := hex.DecodeString(hash)
	if err != nil || len(plain) != aes.BlockSize {
		return hash
	}
	sealed := make([]byte, aes.BlockSize)
	k.keys[0].block.Encrypt(sealed, plain)
	return sealedPrefix + k.keys[0].id + ":" + hex.EncodeToString(sealed)
}

// Open returns the hash that Seal sealed. It returns a plain hash, as earlier versions wrote it, as
// it is. It fails with ErrUnknownUserKey if the key is not there and not declared lost.
func (k *UserKeys) Open(sealed string) (hash string, err error) {
	rest, isSealed := strings.CutPrefix(sealed, sealedPrefix)
	if !isSealed {
		return sealed, nil
	}
	id, encrypted, _ := strings.Cut(rest, ":")
	raw, err := hex.DecodeString(encrypted)
	if err != nil || len(raw) != aes.BlockSize {
		return "", errors.New("a sealed hash of a user is malformed")
	}
	for i := range k.keys {
		if k.keys[i].id == id {
			k.keys[i].block.Decrypt(raw, raw)
			return hex.EncodeToString(raw), nil
		}
	}
	if k.lost {
		return sealed, nil
	}
	return "", fmt.Errorf("%w: its id is %s", ErrUnknownUserKey, id)
}
