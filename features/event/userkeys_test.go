package event_test

import (
	"errors"
	"strings"
	"testing"

	"relish/features"
	"relish/features/event"
)

func newKeys(t *testing.T) *event.UserKeys {
	t.Helper()
	k, err := event.NewUserKeys()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// An encrypted hash is decrypted with its key, also after the key was written and read, and with no
// other.
func TestUserKeys(t *testing.T) {
	hash := features.UserHash("u1")
	mine, other := newKeys(t), newKeys(t)
	encrypted := mine.Encrypt(hash)
	if encrypted == hash || strings.Contains(encrypted, hash) || encrypted == other.Encrypt(hash) {
		t.Errorf("%s is encrypted as %s", hash, encrypted)
	}
	if mine.Encrypt(hash) != encrypted || mine.Encrypt(encrypted) != encrypted {
		t.Error("encrypting is not the same each time, or encrypts twice")
	}
	read, err := event.ParseUserKeys(mine.Text())
	if err != nil {
		t.Fatal(err)
	}
	both, err := event.ParseUserKeys(append(other.Text(), mine.Text()...))
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*event.UserKeys{
		"the same": mine, "read": read, "both": both, "added": other.With(mine),
	} {
		if got, err := k.Decrypt(encrypted); got != hash || err != nil {
			t.Errorf("%s: opened as %q, %v", name, got, err)
		}
		if got, err := k.Decrypt(hash); got != hash || err != nil {
			t.Errorf("%s: a plain hash of an earlier version opens as %q, %v", name, got, err)
		}
	}
	if both.Encrypt(hash) != other.Encrypt(hash) {
		t.Error("the first key does not encrypt")
	}
	if _, err := other.Decrypt(encrypted); !errors.Is(err, event.ErrUnknownUserKey) {
		t.Errorf("a missing key: %v", err)
	}
	text := append([]byte("# the old key is gone\nlost\n"), other.Text()...)
	lost, err := event.ParseUserKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := lost.Decrypt(encrypted); got != encrypted || err != nil {
		t.Errorf("a lost key: %q, %v", got, err)
	}
	for _, text := range []string{"abc", "zz" + strings.Repeat("0", 30), strings.Repeat("0", 34)} {
		if _, err := event.ParseUserKeys([]byte(text)); err == nil ||
			!strings.Contains(err.Error(), "line 1") || strings.Contains(err.Error(), text) {
			t.Errorf("%q as a key: %v", text, err)
		}
	}
}
