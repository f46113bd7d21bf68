package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/embeddings/vectortable"
	"relish/ranker/bundle"
)

// ownVectors is where the vectors of bundles' own encoders are, a table for each. They are apart from the others, which
// nothing removes.
func ownVectors(data string) string { return filepath.Join(data, "vectors", "finetuned") }

// ownOptions are how the own encoders of bundles run: where the process's does.
func (f *encoderFlags) ownOptions(base *onnx.Encoder, vectors embeddings.Options) (finetuned.Options, error) {
	rt, _, err := f.startRuntime()
	return finetuned.Options{Runtime: rt, Encoder: onnx.EncoderOptions{Device: f.Device, GPUMemLimit: f.GPUMemLimit},
		FP32: strings.HasPrefix(base.Device(), "cuda"), Vectors: vectors}, err
}

// ownTexts are the vectors of the bundles that a command ranks with beside a server, each encoder's once. The nil ownTexts
// attaches none, as a command without text needs none.
type ownTexts struct {
	opt  finetuned.Options
	open map[string]*finetuned.Vectors // by digest
}

// openOwnTexts returns them for a data folder, whose tables are read and not written.
func (f *encoderFlags) openOwnTexts(data string, base *onnx.Encoder) (*ownTexts, error) {
	opt, err := f.ownOptions(base, embeddings.Options{Dir: ownVectors(data), ReadOnly: true, CacheBytes: f.CacheBytes})
	return &ownTexts{opt, map[string]*finetuned.Vectors{}}, err
}

// attach gives a bundle, which is in dir, the vectors of its own encoder, if it has one.
func (o *ownTexts) attach(dir string, b *bundle.Bundle) (err error) {
	if o == nil || !b.Manifest.Encoder.FineTuned {
		return nil
	}
	digest := b.Manifest.Encoder.Digest
	if o.open[digest] == nil {
		if o.open[digest], err = finetuned.Open(dir, b.Manifest, o.opt); err != nil {
			delete(o.open, digest)
			return err
		}
	}
	b.Model.Vectors = o.open[digest]
	return nil
}

func (o *ownTexts) close() {
	if o == nil {
		return
	}
	for _, t := range o.open {
		_ = t.Close(context.Background()) // nothing was written
	}
}

// dropOwnVectors removes the vectors of encoders that no bundle in the folder brings along any more. Some bundle that cannot
// be read keeps them all.
func dropOwnVectors(data, root string) (removed []string, err error) {
	tables, err := filepath.Glob(filepath.Join(ownVectors(data), "*.rvt"))
	if err != nil || len(tables) == 0 {
		return nil, err
	}
	versions, err := bundle.Versions(root)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var used []string
	for _, v := range versions {
		m, err := bundle.ReadManifest(filepath.Join(root, v))
		if err != nil {
			return nil, err
		}
		if e := m.Encoder; e.FineTuned {
			used = append(used, vectortable.Path(ownVectors(data), e.Digest), vectortable.Path(ownVectors(data), e.DigestFP32))
		}
	}
	for _, t := range tables {
		if slices.Contains(used, t) {
			continue
		}
		if err := os.Remove(t); err != nil {
			return removed, err
		}
		removed = append(removed, filepath.Base(t))
	}
	return removed, nil
}
