package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"relish/internal/terms"
)

// Write writes a bundle into root, the folder of bundles, and returns the bundle's version. It
// makes the folder if that does not exist.
//
// files are the bundle's files by name, without the manifest. copies are paths of further files,
// too large for memory, that are copied under their base names. m describes all of them; see
// Manifest for what Write fills in.
//
// The bundle appears under its version once it is complete and durable. If the process dies before,
// nothing appears, and the next Write removes the rest. Write waits while another process writes
// into root.
func Write(
	root string, m Manifest, files map[string][]byte, copies ...string,
) (version string, err error) {
	return (&writer{}).write(root, m, files, copies)
}

func (w *writer) write(
	root string, m Manifest, files map[string][]byte, copies []string,
) (version string, err error) {
	manifest, err := completeManifest(&m, files, copies)
	if err != nil {
		return "", fmt.Errorf("bundle: %w", err)
	}
	return w.writeFolder(root, m.Created, manifest, files, copies)
}

// completeManifest fills in what follows from the files, and returns the encoded manifest.
func completeManifest(m *Manifest, files map[string][]byte, copies []string) ([]byte, error) {
	m.Format = formatVersion
	if m.Created.IsZero() {
		m.Created = time.Now()
	}
	m.Created = m.Created.UTC().Truncate(time.Millisecond)
	m.Files = DescribeFiles(files)
	for _, path := range copies {
		f, err := describeFile(path)
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, f)
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	schema, err := ParseSchema(files[SchemaFile])
	if err != nil {
		return nil, err
	}
	m.Schema, m.Terms = schema.Hash(), terms.Version
	return m.encode()
}

// describeFile returns the manifest's entry of a file that is copied into the bundle.
func describeFile(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	return File{
		Name: filepath.Base(path), Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil)),
	}, err
}
