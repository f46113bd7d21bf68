package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"relish/internal/regularfile"
)

// ReadFolder checks a folder that WriteFolder has written, and calls use with each file in the
// order of the manifest. decode checks the manifest and returns its files. use reads the file to
// its end. What it read can be trusted only if ReadFolder returns no error.
//
// It checks that the folder contains exactly the files of the manifest, and every size and digest.
// decode checks with CheckVersion that the manifest belongs to the folder.
func ReadFolder(
	dir string, decode func(manifest []byte) ([]File, error), use func(*File, io.Reader) error,
) error {
	root, data, err := openManifest(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	files, err := decode(data)
	if err != nil {
		return err
	}
	if err := checkFileNames(root, files); err != nil {
		return err
	}
	for i := range files {
		if err := readFile(root, &files[i], use); err != nil {
			return fmt.Errorf("%s: %w", files[i].Name, err)
		}
	}
	return nil
}

// openManifest opens a folder and reads the bytes of its manifest. Nothing outside the folder can
// be reached through root. The caller closes root.
func openManifest(dir string) (root *os.Root, data []byte, err error) {
	name := filepath.Base(dir)
	if !IsVersion(name) {
		return nil, nil, fmt.Errorf("%q is not a version", name)
	}
	if st, err := os.Lstat(dir); err != nil {
		return nil, nil, err
	} else if !st.IsDir() {
		return nil, nil, fmt.Errorf("%s is not a folder", dir)
	}
	if root, err = os.OpenRoot(dir); err != nil {
		return nil, nil, err
	}
	f, err := openFile(root, ManifestFile)
	if err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	data, err = io.ReadAll(io.LimitReader(f, maxManifestBytes+1))
	f.Close()
	if err == nil && len(data) > maxManifestBytes {
		err = fmt.Errorf("%s has more than %d bytes", ManifestFile, maxManifestBytes)
	}
	if err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	return root, data, nil
}

// openFile opens a file of the bundle.
func openFile(root *os.Root, name string) (*os.File, error) {
	f, err := regularfile.Open(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s is missing; copy the bundle again", name)
	}
	return f, err
}

// checkFileNames refuses files that are not in the manifest, which lists neither itself nor its
// signature.
func checkFileNames(root *os.Root, files []File) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxFiles + 3)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, e := range entries {
		listed := func(f File) bool { return f.Name == e.Name() }
		if e.Name() != ManifestFile && e.Name() != SignatureFile &&
			!slices.ContainsFunc(files, listed) {
			return fmt.Errorf("%q is not in the manifest; remove the file", e.Name())
		}
	}
	return nil
}

// readFile calls use with a file of the folder, and checks the file's size and digest.
func readFile(root *os.Root, want *File, use func(*File, io.Reader) error) error {
	f, err := openFile(root, want.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != want.Bytes {
		return fmt.Errorf("the file has %d bytes, the manifest says %d: copy the bundle again",
			st.Size(), want.Bytes)
	}
	hash := sha256.New()
	if err := use(want, io.TeeReader(io.LimitReader(f, want.Bytes), hash)); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != want.SHA256 {
		return errors.New("the digest differs from the manifest's: the file is damaged, copy the " +
			"bundle again")
	}
	return nil
}
