package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"relish/internal/stats"
	"relish/ranker"
)

// formatVersion is the version of the bundle format that this binary writes and reads. A change
// of file names, manifest keys or feature column names needs a new version. Older bundles are
// refused, since their scorer reads columns that no longer exist: they have to be trained again.
const formatVersion = 3

// Bounds of a bundle. They refuse a hostile bundle before it costs anything.
const (
	maxManifestBytes = 1 << 20
	maxFiles         = 64
	maxSignals       = 32
)

// MaxBytes bounds all files of a bundle together.
const MaxBytes = 8 << 30

// Manifest describes a bundle. Write fills in Format, Created (unless it is set), Schema and Files.
type Manifest struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Parent  string    `json:"parent"` // version that training was warm-started from, "" without one
	Encoder Encoder   `json:"encoder"`
	Schema  string    `json:"schema"` // ranker.Schema.Hash of features.yaml
	// Terms is the version of package terms that the signals were trained with.
	Terms int `json:"terms,omitzero"`
	// Signals are in the order in which they run.
	Signals []SignalFile `json:"signals"`
	Scorer  ScorerFile   `json:"scorer"`
	Files   []File       `json:"files"` // all but the manifest itself, sorted by name
	Data    TrainingData `json:"data"`
	// Metrics are the metrics on held-out data by name, for example "ndcg@10".
	Metrics map[string]stats.Interval `json:"metrics"`
	// NoAnswer is Model.NoAnswer, nil if the log did not tell.
	NoAnswer *ranker.NoAnswer `json:"no_answer,omitzero"`
	Revision string           `json:"revision"` // source code revision that trained it
	// Forced is the reason that was given for activating the bundle although the gate refused it;
	// "" if it did not. What the gate found is on the model card and in the file activations.
	Forced string `json:"forced"`
}

// Encoder is the text encoder whose vectors the bundle was trained on. The zero value means that
// the bundle was trained without text.
type Encoder struct {
	ID     string `json:"id"`
	Digest string `json:"digest"` // of the encoder's 8-bit form if FineTuned
	// FineTuned reports that the bundle contains the encoder (EncoderFiles), in two forms: with
	// 8-bit weights, whose digest is Digest, and with 32-bit weights, whose digest is DigestFP32.
	FineTuned  bool   `json:"fine_tuned,omitzero"`
	DigestFP32 string `json:"digest_fp32,omitzero"`
	// Pairs reports that the encoder was fine-tuned on questions and what was chosen for them. A
	// warm start then keeps the same questions from its scorer.
	Pairs bool `json:"pairs,omitzero"`
}

// Files of a fine-tuned text encoder. Package embeddings/finetuned reads and writes them.
const (
	EncoderInt8File      = "encoder_int8.onnx"
	EncoderFP32File      = "encoder_fp32.onnx"
	EncoderTokenizerFile = "encoder_tokenizer.json"
	EncoderSettingsFile  = "encoder.json"
)

// EncoderFiles are all files of a fine-tuned text encoder. A bundle has all of them or none.
var EncoderFiles = []string{
	EncoderInt8File, EncoderFP32File, EncoderTokenizerFile, EncoderSettingsFile,
}

// VectorsExt ends the names of files with vectors of the fine-tuned encoder, which a bundle may
// have beside EncoderFiles. They are vector tables, see package embeddings/vectortable.
const VectorsExt = ".rvt"

// SignalFile is one signal: its kind, and its file if the kind has learned parameters.
type SignalFile struct {
	Kind string `json:"kind"`
	File string `json:"file"`
}

// Kinds of scorers.
const (
	// ScorerPrior is JSON, {"tables":[{"column":"TABLE.COLUMN","weight":0.5}]}, over the schema
	// of scorer.PriorSchema.
	ScorerPrior = "prior"
	// ScorerGBDT is LightGBM's text format. Its features are the schema's columns, in their order.
	ScorerGBDT = "gbdt"
)

// ScorerFile is the scorer: its kind and its file.
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
	Logs []LogRange `json:"logs"`
	// HeldOutFrom is where the held-out part begins; nil if nothing was held out. Of the records in
	// Logs, the bundle was trained on those that happened before it.
	HeldOutFrom *HeldOutFrom `json:"held_out_from,omitempty"`
	Holdout     float64      `json:"holdout"` // newest share of the lists that was held out, 0 to 1
	// Counts are sizes of the training data by name, for example "impressions", "items".
	Counts map[string]int64 `json:"counts"`
}

// LogRange is the part of one replica's event log that was trained on, both ends included.
type LogRange struct {
	Replica string      `json:"replica"`
	First   LogPosition `json:"first"`
	Last    LogPosition `json:"last"`
}

// HeldOutFrom is a place in the order in which records happened. Its fields are those of
// features/event.Order.
type HeldOutFrom struct {
	Time    int64  `json:"time"` // Unix ms
	Rank    uint8  `json:"rank"`
	Hash    uint64 `json:"hash"`
	Replica string `json:"replica"`
	Seq     uint64 `json:"seq"`
}

// LogPosition is one record of an event log.
type LogPosition struct {
	Seq     uint64 `json:"seq"`
	Arrival int64  `json:"arrival"` // Unix ms
}

// fileNamePattern keeps file names inside the folder and distinct from temporary names.
var fileNamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}$`)

// digest returns the SHA-256 of data as hex digits.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// versionOf returns the version of the bundle whose encoded manifest is data.
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

// decodeManifest reads the manifest of the bundle in the folder called name.
//
// The format version is read first: the keys of a manifest of another version mean nothing here.
func decodeManifest(name string, data []byte) (*Manifest, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	if err := checkFormat(head.Format); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	var m Manifest
	err := json.Unmarshal(data, &m, json.RejectUnknownMembers(true))
	if err == nil {
		err = m.validate()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	if err := CheckVersion(name, m.Created, data); err != nil {
		return nil, err
	}
	return &m, nil
}

// CheckVersion returns an error if the folder called name is not the one that the encoded manifest
// was written into.
func CheckVersion(name string, created time.Time, manifest []byte) error {
	if want := versionOf(created, manifest); want != name {
		return fmt.Errorf("%s belongs to bundle %s: the manifest was changed or the folder "+
			"was renamed; copy the bundle again", ManifestFile, want)
	}
	return nil
}

// file returns the entry of the named file, nil if there is none.
func (m *Manifest) file(name string) *File {
	for i := range m.Files {
		if m.Files[i].Name == name {
			return &m.Files[i]
		}
	}
	return nil
}

// size returns the bytes of all files together.
func (m *Manifest) size() (n int64) {
	for _, f := range m.Files {
		n += f.Bytes
	}
	return n
}
