package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"

	"relish/ranker"
	"relish/ranker/scorer"
)

// Load reads the bundle in dir, whose name is its version, and makes its model.
//
// It checks that the folder contains exactly the files of the manifest, every size and digest, and
// the schema's hash. A bundle from an untrusted source must be tried with ProbeInSandbox first.
func Load(dir string, load SignalLoader) (*Bundle, error) {
	files := map[string][]byte{}
	m, digest, err := readFolder(dir, func(f *File, r io.Reader) (err error) {
		if f.Name == ReportFile || slices.Contains(EncoderFiles, f.Name) ||
			filepath.Ext(f.Name) == VectorsExt {
			// Whoever uses these reads them again; only the digest is checked here.
			_, err = io.Copy(io.Discard, r)
			return err
		}
		// The manifest bounds the size, and readFile has compared it with the file's.
		data := bytes.NewBuffer(make([]byte, 0, f.Bytes+bytes.MinRead))
		_, err = data.ReadFrom(r)
		files[f.Name] = data.Bytes()
		return err
	})
	if err != nil {
		return nil, err
	}
	b, err := assemble(filepath.Base(dir), m, files, load)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", filepath.Base(dir), err)
	}
	b.digest = digest
	return b, nil
}

// Verify checks every byte of the bundle in dir. It interprets the manifest only.
func Verify(dir string) (*Manifest, error) {
	m, _, err := readFolder(dir, func(_ *File, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	return m, err
}

// ReadManifest reads the manifest of the bundle in dir. It checks no other file.
func ReadManifest(dir string) (*Manifest, error) {
	root, m, err := openFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", filepath.Base(dir), err)
	}
	return m, root.Close()
}

// readFolder checks the bundle in dir and calls use with each file, as ReadFolder does. digest is
// that of the manifest's file.
func readFolder(
	dir string, use func(*File, io.Reader) error,
) (m *Manifest, digest [sha256.Size]byte, err error) {
	name := filepath.Base(dir)
	err = ReadFolder(dir, func(data []byte) (files []File, err error) {
		if m, err = decodeManifest(name, data); err != nil {
			return nil, err
		}
		digest = sha256.Sum256(data)
		return m.Files, nil
	}, use)
	if err != nil {
		return nil, digest, fmt.Errorf("bundle %s: %w", name, err)
	}
	return m, digest, nil
}

// openFolder opens a bundle's folder and reads its manifest. Nothing outside the folder can be
// reached through root. The caller closes root.
func openFolder(dir string) (root *os.Root, m *Manifest, err error) {
	root, data, err := openManifest(dir)
	if err != nil {
		return nil, nil, err
	}
	if m, err = decodeManifest(filepath.Base(dir), data); err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	return root, m, nil
}

// assemble makes the model from the contents of the files, by name.
func assemble(
	version string,
	m *Manifest,
	files map[string][]byte,
	load SignalLoader,
) (*Bundle, error) {
	schema, err := ParseSchema(files[SchemaFile])
	if err != nil {
		return nil, err
	}
	if schema.Hash() != m.Schema {
		return nil, fmt.Errorf("%s has the schema hash %s, the manifest says %s",
			SchemaFile, schema.Hash(), m.Schema)
	}
	b := &Bundle{Manifest: m, Model: &ranker.Model{
		Version: version, Schema: schema, NoAnswer: m.NoAnswer,
		Histories: ranker.NewHistoryCache(ranker.DefaultHistoryBytes),
	}}
	for i, f := range m.Signals {
		signal, err := load(f.Kind, files[f.File]) // nil without a file
		if err != nil {
			return nil, fmt.Errorf("signals[%d] %s: %w", i, f.Kind, err)
		}
		b.Model.Signals = append(b.Model.Signals, signal)
	}
	if err := checkSignalColumns(b.Model); err != nil {
		return nil, err
	}
	if b.Model.Scorer, err = openScorer(m.Scorer.Kind, files[m.Scorer.File], schema); err != nil {
		return nil, fmt.Errorf("scorer %s: %w", m.Scorer.Kind, err)
	}
	if b.probe, err = DecodeProbe(files[ProbeFile]); err != nil {
		return nil, err
	}
	return b, nil
}

// checkSignalColumns checks that exactly one signal writes each column that the schema reads.
func checkSignalColumns(m *ranker.Model) error {
	var have []string
	for _, signal := range m.Signals {
		for _, c := range signal.Columns() {
			if slices.Contains(have, c) {
				return fmt.Errorf("two signals write the column %q", c)
			}
			have = append(have, c)
		}
	}
	for _, f := range m.Schema.Features() {
		if f.Kind == ranker.KindSignal && !slices.Contains(have, f.Column) {
			return fmt.Errorf("feature %q needs the column %q, which no signal of the bundle "+
				"writes", f.Name, f.Column)
		}
	}
	return nil
}

func openScorer(kind string, data []byte, schema *ranker.Schema) (ranker.Scorer, error) {
	switch kind {
	case ScorerPrior:
		var priors struct {
			Tables []scorer.ColumnWeight `json:"tables"`
		}
		if err := json.Unmarshal(data, &priors, json.RejectUnknownMembers(true)); err != nil {
			return nil, err
		}
		return scorer.NewPrior(schema, priors.Tables)
	case ScorerGBDT:
		return scorer.ParseLightGBM(data, len(schema.Columns()))
	}
	return nil, errors.New("this binary does not know this kind: use a newer relish")
}
