package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"relish/embeddings"
	"relish/embeddings/finetuned"
	"relish/embeddings/onnx"
	"relish/embeddings/vectortable"
	"relish/ranker/bundle"
)

// finetunedFolder is where the vectors of fine-tuned encoders are, one vector table for each
// encoder. The vectors of the base encoder are in the folder above, and nothing removes those.
func finetunedFolder(data string) string { return filepath.Join(data, "vectors", "finetuned") }

// finetunedVectors holds the vectors of the fine-tuned encoders that a command uses beside a
// running service. It opens each encoder once and reads the data folder without writing to it.
//
// A nil *finetunedVectors attaches nothing: a command without a text encoder uses it so. It is not
// safe for concurrent use.
type finetunedVectors struct {
	opt  finetuned.Options
	open map[string]*finetuned.Vectors // by encoder digest
}

// openFinetuned returns the vectors of a data folder. The caller closes them.
func (o *EncoderOptions) openFinetuned(
	data string, base *onnx.Encoder, log *slog.Logger,
) (*finetunedVectors, error) {
	opt, err := o.finetunedOptions(base, embeddings.Options{
		Dir: finetunedFolder(data), ReadOnly: true, CacheBytes: o.CacheBytes, Log: log,
	}, log)
	return &finetunedVectors{opt, map[string]*finetuned.Vectors{}}, err
}

// attach makes the model of the bundle in dir read the vectors of the bundle's fine-tuned encoder,
// if it has one.
func (f *finetunedVectors) attach(ctx context.Context, dir string, b *bundle.Bundle) error {
	if f == nil || !b.Manifest.Encoder.FineTuned {
		return nil
	}
	digest := b.Manifest.Encoder.Digest
	vectors := f.open[digest]
	if vectors != nil {
		vectors.ImportBundled(dir)
	} else {
		var err error
		if vectors, err = finetuned.Open(ctx, dir, b.Manifest.Encoder, f.opt); err != nil {
			return err
		}
		f.open[digest] = vectors
	}
	b.Model.Vectors = vectors
	return nil
}

// close releases the vectors.
func (f *finetunedVectors) close(ctx context.Context) {
	if f == nil {
		return
	}
	for _, vectors := range f.open {
		_ = vectors.Close(ctx) // read-only: there is nothing left to write
	}
}

// removeUnusedVectors removes the vectors of fine-tuned encoders that no bundle has any more, and
// logs what it did. A failure leaves files on the disk and is no reason not to serve.
func removeUnusedVectors(data, bundles string, log *slog.Logger) {
	removed, err := unusedVectors(data, bundles)
	for i, path := range removed {
		if err := os.Remove(path); err != nil {
			log.Warn("cannot remove the vectors of an encoder that no bundle uses", "file", path,
				"error", err)
			removed = removed[:i]
			break
		}
	}
	if err != nil {
		log.Warn("cannot find the vectors of unused encoders; they stay on disk", "error", err)
	}
	if len(removed) > 0 {
		log.Info("removed the vectors of encoders that no bundle uses", "files", removed)
	}
}

// unusedVectors returns the vector tables that belong to no bundle. If any manifest is unreadable,
// it returns none.
func unusedVectors(data, bundles string) ([]string, error) {
	tables, err := filepath.Glob(filepath.Join(finetunedFolder(data), "*.rvt"))
	if err != nil || len(tables) == 0 {
		return nil, err
	}
	versions, err := bundle.Versions(bundles)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var used []string
	for _, version := range versions {
		manifest, err := bundle.ReadManifest(filepath.Join(bundles, version))
		if err != nil {
			return nil, err
		}
		if e := manifest.Encoder; e.FineTuned {
			used = append(used, vectortable.Path(finetunedFolder(data), e.Digest),
				vectortable.Path(finetunedFolder(data), e.DigestFP32))
		}
	}
	inUse := func(path string) bool { return slices.Contains(used, path) }
	return slices.DeleteFunc(tables, inUse), nil
}
