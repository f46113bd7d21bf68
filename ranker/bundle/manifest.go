package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/internal/stats"
)

// formatVersion is the version of the bundle's format that is written. oldest is the oldest one that is read: it knew no
// encoders of a bundle's own.
const (
	formatVersion = 2
	oldest        = 1
)

// Bounds of a bundle, so that a hostile one is refused before it costs anything.
const (
	maxManifestBytes = 1 << 20
	maxFiles         = 64
	maxSignals       = 32
	maxBundleBytes   = 8 << 30 // of all files
)

// Manifest says what a bundle is. Write fills Format, Created (unless set), Schema and Files.
type Manifest struct {
	Format  int          `json:"format"`
	Created time.Time    `json:"created"`
	Parent  string       `json:"parent"` // the version that it was trained on from, "" without one
	Encoder Encoder      `json:"encoder"`
	Schema  string       `json:"schema"`  // ranker.Schema.Hash of features.yaml
	Signals []SignalFile `json:"signals"` // in the order in which they run
	Scorer  ScorerFile   `json:"scorer"`
	Files   []File       `json:"files"` // all but the manifest itself, by name
	Data    TrainingData `json:"data"`
	// Metrics are what it reached on held-out data, by name, e.g. "ndcg@10".
	Metrics  map[string]stats.Interval `json:"metrics"`
	Revision string                    `json:"revision"` // of the source code
	Forced   string                    `json:"forced"`   // why it may be active although it is worse on the newest data
}

// Encoder is the text encoder whose vectors the bundle was trained on; zero = trained without text.
type Encoder struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
	// FineTuned: the encoder is in the bundle (EncoderFiles), once with 8-bit weights, whose digest Digest is, and once with
	// 32-bit weights.
	FineTuned  bool   `json:"own,omitzero"`
	DigestFP32 string `json:"digest_fp32,omitzero"`
}

// Files of a bundle's own text encoder; package embeddings/own reads and writes them.
const (
	EncoderInt8File      = "encoder_int8.onnx"
	EncoderFP32File      = "encoder_fp32.onnx"
	EncoderTokenizerFile = "encoder_tokenizer.json"
	EncoderSettingsFile  = "encoder.json"
)

// EncoderFiles are all of them. They are there together or not at all.
var EncoderFiles = []string{EncoderInt8File, EncoderFP32File, EncoderTokenizerFile, EncoderSettingsFile}

// SignalFile is one matcher: its kind, and its file for a kind that has learned something.
type SignalFile struct {
	Kind string `json:"kind"`
	File string `json:"file"`
}

// Kinds of blends.
const (
	ScorerPrior = "prior" // JSON: {"tables":[{"column":"TABLE.COLUMN","weight":0.5}]}, over blend.PriorSchema
	ScorerGBDT  = "trees" // LightGBM's text format, its features in the order of the schema's columns
)

// ScorerFile is the blend: its kind and its file.
type ScorerFile struct {
	Kind string `json:"kind"`
	File string `json:"file"`
}

// File is one file of the bundle.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // 64 hex digits
}

// TrainingData is what the bundle was trained on.
type TrainingData struct {
	Logs    []LogRange `json:"logs"`
	Holdout float64    `json:"holdout"` // the newest share of the lists, 0 to 1, that was left out
	// Counts are numbers of what was learned from, by name, e.g. "impressions", "items".
	Counts map[string]int64 `json:"counts"`
}

// LogRange is the part of one replica's log that was learned from, both ends included.
type LogRange struct {
	Replica string      `json:"replica"`
	First   LogPosition `json:"first"`
	Last    LogPosition `json:"last"`
}

// LogPosition is one record of a log.
type LogPosition struct {
	Seq     uint64 `json:"seq"`
	Arrival int64  `json:"arrival"` // Unix ms
}

// fileNamePattern keeps names inside the folder, and apart from temporary ones.
var fileNamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}$`)

// digest returns the SHA-256 of data in hex.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// versionOf names the bundle whose manifest is data.
func versionOf(created time.Time, data []byte) string {
	stamp := strings.Replace(created.UTC().Format("20060102T150405.000Z"), ".", "", 1)
	return stamp + "-" + digest(data)[:12]
}

func (m *Manifest) encode() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(m, json.Deterministic(true), jsontext.WithIndent("  "))
	return append(data, '\n'), err
}

// decodeManifest reads the manifest of the bundle that is named name.
func decodeManifest(name string, data []byte) (*Manifest, error) {
	var head struct {
		Format int `json:"format"`
	}
	var m Manifest
	err := json.Unmarshal(data, &head)
	switch {
	case err == nil && head.Format > formatVersion:
		return nil, fmt.Errorf("%s has format version %d, this binary reads up to %d: use a newer relish", ManifestFile, head.Format, formatVersion)
	case err == nil:
		err = json.Unmarshal(data, &m, json.RejectUnknownMembers(true))
	}
	if err == nil {
		err = m.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	if want := versionOf(m.Created, data); want != name {
		return nil, fmt.Errorf("%s is the one of %s: it was changed, or the folder renamed", ManifestFile, want)
	}
	return &m, nil
}

// validate returns every problem of the manifest, joined.
func (m *Manifest) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if m.Format < oldest || m.Format > formatVersion {
		bad("format is %d; it is %d to %d", m.Format, oldest, formatVersion)
	}
	if m.Created.IsZero() {
		bad("created is missing")
	}
	files := m.validateFiles(bad)
	if len(m.Signals) > maxSignals {
		bad("matchers has %d entries; at most %d are possible", len(m.Signals), maxSignals)
	}
	for i, f := range m.Signals {
		if f.Kind == "" || f.File != "" && !files[f.File] {
			bad("matchers[%d]: kind %q, file %q: the kind is missing, or files has no such file", i, f.Kind, f.File)
		}
	}
	for _, name := range []string{SchemaFile, ProbeFile, m.Scorer.File} {
		if !files[name] {
			bad("files lacks %q, which a bundle needs", name)
		}
	}
	for _, name := range EncoderFiles {
		if files[name] != m.Encoder.FineTuned {
			bad("encoder.own is %v, and %s among the files: %v", m.Encoder.FineTuned, name, files[name])
		}
	}
	if m.Encoder.FineTuned && (m.Encoder.Digest == "" || m.Encoder.DigestFP32 == "") {
		bad("encoder: one of the bundle's own needs digest and digest_fp32")
	}
	if !(m.Data.Holdout >= 0 && m.Data.Holdout <= 1) {
		bad("data.holdout is %g; it is a share, 0 to 1", m.Data.Holdout)
	}
	for name, v := range m.Metrics {
		for _, x := range []float64{v.Mean, v.Low, v.High} {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				bad("metrics: %s is %s; a number that could not be computed must be left out", name, v)
				break
			}
		}
	}
	return errors.Join(errs...)
}

func (m *Manifest) validateFiles(bad func(string, ...any)) map[string]bool {
	names, total := map[string]bool{}, int64(0)
	if len(m.Files) > maxFiles {
		bad("files has %d entries; at most %d are possible", len(m.Files), maxFiles)
	}
	for i, f := range m.Files {
		sum, err := hex.DecodeString(f.SHA256)
		switch {
		case !fileNamePattern.MatchString(f.Name) || f.Name == ManifestFile:
			bad("files[%d]: %q is no name for a file here", i, f.Name)
		case names[f.Name]:
			bad("files[%d]: %s stands twice", i, f.Name)
		case err != nil || len(sum) != sha256.Size:
			bad("files[%d]: sha256 is not 64 hex digits", i)
		case f.Bytes < 0 || f.Bytes > maxBundleBytes-total:
			bad("files[%d]: %d bytes; a bundle has up to %d in all", i, f.Bytes, int64(maxBundleBytes))
		default:
			total += f.Bytes
		}
		names[f.Name] = true
	}
	return names
}

// file returns the named file's entry, nil when there is none.
func (m *Manifest) file(name string) *File {
	for i := range m.Files {
		if m.Files[i].Name == name {
			return &m.Files[i]
		}
	}
	return nil
}

// size returns the bytes of all files.
func (m *Manifest) size() (n int64) {
	for _, f := range m.Files {
		n += f.Bytes
	}
	return n
}
