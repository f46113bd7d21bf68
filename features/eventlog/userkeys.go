package eventlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"relish/features/event"
	"relish/internal/durable"
	"relish/ranker"
)

// The file users.key in the log's folder holds the keys that hide the users of erase events, see
// event.UserKeys. It is in this folder so that a backup of the log includes it. The first opening
// of the log writes it. Without it nobody can tell which users the erase events erased.
func userKeysPath(dir string) string { return filepath.Join(dir, "users.key") }

// readUserKeys reads the keys of the log in dir. They are nil if there is no file.
func readUserKeys(dir string) (*event.UserKeys, error) {
	path := userKeysPath(dir)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	keys, err := event.ParseUserKeys(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w; %s", path, err, userKeysRemedy)
	}
	return keys, nil
}

// userKeysRemedy says what to do if a key is missing.
const userKeysRemedy = "put the file, or the line that it lacks, back from a backup of the log. " +
	"If the key is lost, add the line \"lost\" to the file. After the next start, erase again " +
	"who was erased in the last days"

// requiredUserKeys reads the keys of the log in dir. They are nil if the log never had any. It is
// an error if the file is missing and a segment may need it.
func requiredUserKeys(dir string, segs []segment) (*event.UserKeys, error) {
	keys, err := readUserKeys(dir)
	if keys != nil || err != nil {
		return keys, err
	}
	for _, s := range segs {
		if h, err := s.header(); err == nil && h.version >= encryptedVersion {
			return nil, fmt.Errorf("%s is missing: without it nobody can tell which users were "+
				"erased; %s", userKeysPath(dir), userKeysRemedy)
		}
	}
	return nil, nil
}

// CheckUserKeys fails if the file of keys of the log in dir is damaged or missing, so that the log
// cannot be opened. A folder without a log has no file of keys. It changes nothing.
func CheckUserKeys(dir string) error {
	segs, err := segments(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = requiredUserKeys(dir, segs)
	}
	return err
}

// openUserKeys reads the keys of the log, and makes one if the log never had any. The file is
// durable before anything is encrypted with its key.
func (l *Log) openUserKeys(segs []segment) error {
	keys, err := requiredUserKeys(l.dir, segs)
	if err != nil {
		return err
	}
	if keys == nil || keys.Empty() {
		fresh, err := event.NewUserKeys()
		if err != nil {
			return err
		}
		if keys != nil {
			fresh = fresh.With(keys)
		}
		keys = fresh
		if err := durable.WriteSecret(l.fs, userKeysPath(l.dir), keys.Text()); err != nil {
			return fmt.Errorf("write %s, which the log needs before it takes events: %w. "+
				"Free some space on this disk, or allow writing to the folder, and start again",
				userKeysPath(l.dir), err)
		}
	}
	l.userKeys = keys
	return nil
}

// UserKeys returns the keys with which this log encrypts the users of erase events. Files beside
// the log use them too.
func (l *Log) UserKeys() *event.UserKeys { return l.userKeys }

// encrypted returns the event as the log stores it.
func (l *Log) encrypted(e *ranker.Event) *ranker.Event {
	if e.UserHash == "" {
		return e
	}
	stored := *e
	stored.UserHash = l.userKeys.Encrypt(e.UserHash)
	return &stored
}

// decryptUser replaces the encrypted user of an erase event by the plain hash. The keys are read at
// the first erase event.
func (s *scanner) decryptUser(e *ranker.Event) (err error) {
	if e.UserHash == "" {
		return nil
	}
	if s.keys == nil {
		if s.keys, err = readUserKeys(s.dir); err != nil {
			return err
		}
		if s.keys == nil {
			s.keys = &event.UserKeys{}
		}
	}
	if e.UserHash, err = s.keys.Decrypt(e.UserHash); errors.Is(err, event.ErrUnknownUserKey) {
		return fmt.Errorf("%w: %s does not have it; %s", err, userKeysPath(s.dir), userKeysRemedy)
	}
	return err
}
