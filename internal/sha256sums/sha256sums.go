// Package sha256sums reads and writes the file SHA256SUMS of a folder, which the command sha256sum
// checks with -c. It tells whether files were damaged after they had been written.
package sha256sums

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"relish/internal/regularfile"
)

// File is the name of the file.
const File = "SHA256SUMS"

// maxBytes bounds the file.
const maxBytes = 1 << 20

// Sums are digests in hexadecimal by file name. nil means that the folder has none.
type Sums map[string]string

// Read reads the digests of the folder dir.
func Read(dir string) (Sums, error) {
	data, err := regularfile.Read(dir, File, maxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sums := Sums{}
	for line := range strings.Lines(string(data)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		name = strings.TrimLeft(name, " *") // "*" marks a binary file
		if digest, err := hex.DecodeString(sum); err != nil || len(digest) != sha256.Size ||
			name == "" {
			return nil, fmt.Errorf("%s: the line %.100q is not a SHA-256 and a file name", File,
				line)
		}
		sums[name] = strings.ToLower(sum)
	}
	return sums, nil
}

// Check returns an error if the contents of a file are not those that the digests say.
func (s Sums) Check(name string, data []byte) error {
	if s == nil {
		return nil
	}
	want, ok := s[name]
	if !ok {
		return fmt.Errorf("%s lacks %s: add its digest, or remove %s", File, name, File)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
		return fmt.Errorf("%s has another SHA-256 than %s says: the file is damaged or was "+
			"replaced; download it again", name, File)
	}
	return nil
}

// Write writes the digests of the named files of the folder dir.
func Write(dir string, names []string) error {
	sums := Sums{}
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		hash := sha256.New()
		_, err = io.Copy(hash, f)
		f.Close()
		if err != nil {
			return err
		}
		sums[name] = hex.EncodeToString(hash.Sum(nil))
	}
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&out, "%s  %s\n", sums[name], name)
	}
	return os.WriteFile(filepath.Join(dir, File), out.Bytes(), 0o644)
}
