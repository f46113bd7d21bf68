package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
)

// checkFormat returns an error that says what to do about a bundle of another format version.
func checkFormat(version int) error {
	switch {
	case version > formatVersion:
		return fmt.Errorf("the bundle has format version %d, this binary reads version %d: use a "+
			"newer relish", version, formatVersion)
	case version < formatVersion && version > 0:
		return fmt.Errorf("the bundle has format version %d, this binary reads version %d: train "+
			"again with relish train", version, formatVersion)
	case version != formatVersion:
		return fmt.Errorf("format is %d; this binary reads version %d", version, formatVersion)
	}
	return nil
}

// validate returns all problems of the manifest, joined.
func (m *Manifest) validate() error {
	var errs []error
	addf := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := checkFormat(m.Format); err != nil {
		errs = append(errs, err)
	}
	if m.Created.IsZero() {
		addf("created is missing")
	}
	names := validateFiles(m.Files, addf)
	if len(m.Signals) > maxSignals {
		addf("signals has %d entries; the maximum is %d", len(m.Signals), maxSignals)
	}
	for i, f := range m.Signals {
		if f.Kind == "" {
			addf("signals[%d]: kind is missing", i)
		}
		if f.File != "" && !names[f.File] {
			addf("signals[%d]: files has no file %q", i, f.File)
		}
	}
	for _, name := range []string{SchemaFile, ProbeFile, m.Scorer.File} {
		if !names[name] {
			addf("files lacks %q, which every bundle needs", name)
		}
	}
	m.validateEncoder(names, addf)
	if m.NoAnswer != nil {
		if err := m.NoAnswer.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	if !(m.Data.Holdout >= 0 && m.Data.Holdout <= 1) {
		addf("data.holdout is %g; it is a share, 0 to 1", m.Data.Holdout)
	}
	for name, v := range m.Metrics {
		if bad := func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }; bad(v.Mean) ||
			v.IsBounded() && (bad(v.Low) || bad(v.High)) {
			addf("metrics: %s is %s; leave out a metric that could not be computed", name, v)
		}
	}
	return errors.Join(errs...)
}

func (m *Manifest) validateEncoder(names map[string]bool, addf func(string, ...any)) {
	for _, name := range EncoderFiles {
		switch {
		case m.Encoder.FineTuned && !names[name]:
			addf("files lacks %s, which a bundle with a fine-tuned encoder needs", name)
		case !m.Encoder.FineTuned && names[name]:
			addf("files has %s, but encoder.fine_tuned is false", name)
		}
	}
	if m.Encoder.FineTuned && (m.Encoder.Digest == "" || m.Encoder.DigestFP32 == "") {
		addf("encoder: a fine-tuned encoder needs digest and digest_fp32")
	}
}

// CheckFiles returns all problems of the list of files of a manifest, joined.
func CheckFiles(files []File) error {
	var errs []error
	validateFiles(files, func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format, args...))
	})
	return errors.Join(errs...)
}

// validateFiles checks the list of files and returns the set of their names.
func validateFiles(files []File, addf func(string, ...any)) map[string]bool {
	names, total := map[string]bool{}, int64(0)
	if len(files) > maxFiles {
		addf("files has %d entries; the maximum is %d", len(files), maxFiles)
	}
	for i, f := range files {
		sum, err := hex.DecodeString(f.SHA256)
		switch {
		case !fileNamePattern.MatchString(f.Name) || f.Name == ManifestFile ||
			f.Name == SignatureFile:
			addf("files[%d]: %q cannot be a file name in a bundle", i, f.Name)
		case names[f.Name]:
			addf("files[%d]: %s is listed twice", i, f.Name)
		case err != nil || len(sum) != sha256.Size:
			addf("files[%d]: sha256 is not 64 hex digits", i)
		case f.Bytes < 0 || f.Bytes > MaxBytes-total:
			addf("files[%d]: size %d bytes; all files together have at most %d",
				i, f.Bytes, int64(MaxBytes))
		default:
			total += f.Bytes
		}
		names[f.Name] = true
	}
	return names
}
