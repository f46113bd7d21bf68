package classifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/viterin/vek/vek32"

	"relish/internal/sandbox"
	"relish/ranker/bundle"
)

// Files of a classifier, besides those of a fine-tuned encoder (bundle.EncoderFiles).
const (
	HeadFile  = "head.bin"
	ProbeFile = "probe.json"
	CardFile  = "card.html" // the report for people
)

// formatVersion is the version of the manifest that this binary writes and reads.
const formatVersion = 1

// Manifest describes one version of a classifier. Write fills in Format, Created and Files.
type Manifest struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Name    string    `json:"name"`
	Method  string    `json:"method"` // how it was trained, in words
	// Encoder is the text encoder whose vectors the head reads. If it is fine-tuned, the folder
	// has it.
	Encoder  bundle.Encoder `json:"encoder"`
	Examples map[string]int `json:"examples"` // number of examples by label
	// Metrics are cross-validated: accuracy, macro_f1 and so on.
	Metrics  map[string]float64 `json:"metrics"`
	Files    []bundle.File      `json:"files"`
	Revision string             `json:"revision"` // source code revision that trained it
}

// probe is a text with its vector and the probabilities that the head gave at export.
type probe struct {
	Text          string    `json:"text"`
	Vector        []float32 `json:"vector"`
	Probabilities []float64 `json:"probabilities"`
}

// ProbeText is the text of the probe. It names no user and comes from no example.
const ProbeText = "Please tell me when the parcel of 3 March arrives; the profit rose by 4 % " +
	"& I'm delighted."

// Write writes a version of the classifier m.Name into root, the folder of all classifiers, and
// returns the version. probeVector is the vector of ProbeText by the encoder that serves. files are
// further files by name: the card, and those of a fine-tuned encoder.
func Write(
	root string, m Manifest, head *Head, probeVector []float32, files map[string][]byte,
) (version string, err error) {
	if err := CheckName(m.Name); err != nil {
		return "", err
	}
	p := probe{ProbeText, probeVector, make([]float64, len(head.Labels))}
	head.Probabilities(probeVector, ProbeText, p.Probabilities)
	all := map[string][]byte{}
	for name, data := range files {
		all[name] = data
	}
	if all[HeadFile], err = head.Encode(); err != nil {
		return "", err
	}
	if all[ProbeFile], err = json.Marshal(p); err != nil {
		return "", err
	}
	m.Format, m.Created = formatVersion, time.Now().UTC().Truncate(time.Millisecond)
	m.Files = bundle.DescribeFiles(all)
	manifest, err := json.Marshal(m, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return "", err
	}
	return bundle.WriteFolder(filepath.Join(root, m.Name), m.Created, manifest, all)
}

// ReadManifest reads the manifest of the version in dir and checks every file's digest.
func ReadManifest(dir string) (*Manifest, error) {
	return readFolder(dir, func(_ *bundle.File, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
}

// Load reads the version in dir. It checks the size and the digest of every file.
func Load(dir string) (*Model, error) {
	files := map[string][]byte{}
	m, err := readFolder(dir, func(f *bundle.File, r io.Reader) (err error) {
		if f.Name != HeadFile && f.Name != ProbeFile {
			_, err = io.Copy(io.Discard, r)
			return err
		}
		files[f.Name], err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	model := &Model{Version: filepath.Base(dir), Manifest: m, probe: &probe{}}
	if model.Head, err = DecodeHead(files[HeadFile]); err != nil {
		return nil, fmt.Errorf("classifier %s: %s: %w", m.Name, HeadFile, err)
	}
	if err := json.Unmarshal(files[ProbeFile], model.probe); err != nil {
		return nil, fmt.Errorf("classifier %s: %s: %w", m.Name, ProbeFile, err)
	}
	return model, nil
}

func readFolder(dir string, use func(*bundle.File, io.Reader) error) (m *Manifest, err error) {
	err = bundle.ReadFolder(dir, func(data []byte) ([]bundle.File, error) {
		m = new(Manifest)
		if err := json.Unmarshal(data, m); err != nil {
			return nil, fmt.Errorf("%s: %w", bundle.ManifestFile, err)
		}
		return m.Files, m.check(dir, data)
	}, use)
	if err != nil {
		return nil, fmt.Errorf("classifier %s: %w", filepath.Join(filepath.Base(
			filepath.Dir(dir)), filepath.Base(dir)), err)
	}
	return m, nil
}

// check returns what is wrong with the manifest of the version in dir.
func (m *Manifest) check(dir string, encoded []byte) error {
	if m.Format != formatVersion {
		return fmt.Errorf("the manifest has format version %d, this binary reads version %d: "+
			"train the classifier again, or use a newer relish", m.Format, formatVersion)
	}
	if want := filepath.Base(filepath.Dir(dir)); m.Name != want {
		return fmt.Errorf("the manifest is of the classifier %.60q: copy it into a folder of that "+
			"name", m.Name)
	}
	if err := bundle.CheckVersion(filepath.Base(dir), m.Created, encoded); err != nil {
		return err
	}
	if err := bundle.CheckFiles(m.Files); err != nil {
		return err
	}
	needed := []string{HeadFile, ProbeFile}
	if m.Encoder.FineTuned {
		needed = append(needed, bundle.EncoderFiles...)
	}
	for _, name := range needed {
		if !slices.ContainsFunc(m.Files, func(f bundle.File) bool { return f.Name == name }) {
			return fmt.Errorf("files lacks %s", name)
		}
	}
	return nil
}

// tolerance is the largest accepted difference of a probability from the recorded one, and of a
// cosine from 1. Processors round differently.
const tolerance = 1e-3

// Verify checks that the head gives the recorded probabilities for the recorded vector. encode, if
// not nil, is the encoder that serves; it must give the recorded vector.
func (m *Model) Verify(ctx context.Context, encode Encoder) error {
	if len(m.probe.Vector) != m.Head.Dim || len(m.probe.Probabilities) != len(m.Head.Labels) {
		return fmt.Errorf("%s has %d vector components and %d probabilities; the head needs %d "+
			"and %d", ProbeFile, len(m.probe.Vector), len(m.probe.Probabilities),
			m.Head.Dim, len(m.Head.Labels))
	}
	if encode != nil {
		vectors, err := encode.Texts(ctx, []string{m.probe.Text})
		if err != nil {
			return err
		}
		if len(vectors[0]) != m.Head.Dim ||
			!(vek32.Dot(vectors[0], m.probe.Vector) >= 1-tolerance) {
			return errors.New("the encoder does not give the vector recorded at export: train " +
				"the classifier again with this encoder")
		}
	}
	got := make([]float64, len(m.Head.Labels))
	m.Head.Probabilities(m.probe.Vector, m.probe.Text, got)
	for c, p := range got {
		if !(math.Abs(p-m.probe.Probabilities[c]) <= tolerance) {
			return fmt.Errorf("label %d has the probability %g, recorded was %g",
				c, p, m.probe.Probabilities[c])
		}
	}
	return nil
}

// ProbeChild is the work of the child process that tries the version in dir before it is used, see
// bundle.ProbeInSandbox. It limits its process for good and prints the version if the classifier
// does what was recorded. open opens the fine-tuned encoder in dir; it is called only for a
// classifier that has one.
func ProbeChild(
	ctx context.Context, dir string, limits bundle.ProbeLimits,
	open func(ctx context.Context, dir string) (Encoder, func(), error),
) error {
	memory := limits.Memory
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			memory += probeMemoryFactor * uint64(min(info.Size(), maxHeadBytes))
		}
	}
	if err := sandbox.Limit(memory, limits.CPU); err != nil {
		return err
	}
	m, err := Load(dir)
	if err != nil {
		return err
	}
	var encoder Encoder
	if m.Manifest.Encoder.FineTuned {
		e, done, err := open(ctx, dir)
		if err != nil {
			return err
		}
		defer done()
		encoder = e
	}
	if err := m.Verify(ctx, encoder); err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, m.Version)
	return err
}

// probeMemoryFactor is how many times the size of its files a classifier may take in memory.
const probeMemoryFactor = 4
