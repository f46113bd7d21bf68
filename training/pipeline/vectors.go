package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"relish/embeddings/vectortable"
	"relish/ranker"
	"relish/ranker/bundle"
)

// textVectors has the vectors of all texts in the log. It takes them from base, and encodes those
// that base lacks once and keeps them in memory. It is not safe for concurrent use until the last
// encodePending; after that it is read-only.
type textVectors struct {
	base    ranker.Vectors
	encoded map[uint64][]float32 // by text key: what base lacked
	seen    map[uint64]struct{}  // text keys passed to require
	pending []*ranker.ItemInfo   // required, not yet looked up
}

func newTextVectors(base ranker.Vectors) *textVectors {
	return &textVectors{
		base: base, encoded: map[uint64][]float32{}, seen: map[uint64]struct{}{},
	}
}

// encodeChunk is the number of texts that are passed to the encoder at once.
const encodeChunk = 512

// errNotEncoded says that the encoder failed on a text.
var errNotEncoded = errors.New("a text could not be encoded, see the log for the cause; " +
	"--no-text trains without texts")

// require makes sure that the item's text will have a vector after encodePending.
func (v *textVectors) require(ctx context.Context, item *ranker.ItemInfo) error {
	if _, again := v.seen[item.TextKey]; again || item.TextKey == 0 {
		return nil
	}
	v.seen[item.TextKey] = struct{}{}
	if v.pending = append(v.pending, item); len(v.pending) < encodeChunk {
		return nil
	}
	return v.encodePending(ctx)
}

// encodePending encodes the required texts that have no vector yet.
func (v *textVectors) encodePending(ctx context.Context) error {
	missing, out := v.missing(v.pending, make([][]float32, len(v.pending)))
	v.base.Fetch(ctx, missing, out)
	if ctx.Err() != nil {
		return fmt.Errorf("encoding texts: %w", ctx.Err())
	}
	for i, item := range missing {
		if out[i] == nil && v.HasText(item) {
			return errNotEncoded
		}
		v.encoded[item.TextKey] = out[i]
	}
	v.pending = v.pending[:0]
	return nil
}

// missing fills out with the known vectors. It returns the items whose texts have no vector, and a
// slice for their vectors.
func (v *textVectors) missing(
	items []*ranker.ItemInfo,
	out [][]float32,
) ([]*ranker.ItemInfo, [][]float32) {
	if v.Lookup(items, out) == 0 {
		return nil, nil
	}
	var missing []*ranker.ItemInfo
	for i, item := range items {
		if out[i] == nil && v.HasText(item) {
			missing = append(missing, item)
		}
	}
	return missing, make([][]float32, len(missing))
}

// writeVectors writes the fine-tuned encoder's vectors of the catalogue's texts to a vector table
// in the working folder, and returns its path, "" if there are none. They are those of the
// encoder's form that the training used. The bundle brings them, so that no server has to encode
// its catalogue before it can serve the bundle.
//
// The rows are in the order of the items, so that equal trainings write equal files.
func writeVectors(
	run *run, encoder *textEncoder, catalogue []*ranker.ItemInfo,
) (path string, err error) {
	digest := encoder.manifest.Digest
	if tuner := run.opt.EncoderTuner; tuner != nil && tuner.Finetuned.FP32 {
		digest = encoder.manifest.DigestFP32
	}
	removeVectors(run.workDir) // left by a training that died
	var table *vectortable.Table
	for part := range slices.Chunk(catalogue, encodeChunk) {
		keys, vectors := encoder.vectors.rows(part)
		if len(keys) == 0 {
			continue
		}
		if table == nil {
			table, err = vectortable.Open(run.workDir, digest, len(vectors[0]),
				vectortable.Options{})
			if err != nil {
				return "", err
			}
		}
		if err := table.Append(keys, vectors); err != nil {
			return "", errors.Join(err, table.Close())
		}
	}
	if table == nil {
		return "", nil
	}
	return vectortable.Path(run.workDir, digest), table.Close()
}

// removeVectors removes what writeVectors wrote. If it fails, the next training removes the file.
func removeVectors(workDir string) {
	paths, _ := filepath.Glob(filepath.Join(workDir, "*"+bundle.VectorsExt))
	for _, path := range paths {
		os.Remove(path)
	}
}

// rows returns the text keys and vectors of the items that have a vector.
func (v *textVectors) rows(items []*ranker.ItemInfo) (keys []uint64, vectors [][]float32) {
	out := make([][]float32, len(items))
	v.Lookup(items, out)
	for i, item := range items {
		if out[i] != nil {
			keys, vectors = append(keys, item.TextKey), append(vectors, out[i])
		}
	}
	return keys, vectors
}

// Fetch implements ranker.Vectors. Item texts are known already; only search queries may have to be
// encoded.
func (v *textVectors) Fetch(ctx context.Context, items []*ranker.ItemInfo, out [][]float32) {
	missing, fetched := v.missing(items, out)
	v.base.Fetch(ctx, missing, fetched)
	for i, item := range items {
		if at := slices.Index(missing, item); at >= 0 {
			out[i] = fetched[at]
		}
	}
}

// Lookup implements ranker.Vectors.
func (v *textVectors) Lookup(items []*ranker.ItemInfo, out [][]float32) (missing int) {
	if v.base.Lookup(items, out) == 0 {
		return 0
	}
	for i, item := range items {
		if out[i] != nil || !v.HasText(item) {
			continue
		}
		if out[i] = v.encoded[item.TextKey]; out[i] == nil {
			missing++
		}
	}
	return missing
}

// HasText implements ranker.Vectors.
func (v *textVectors) HasText(item *ranker.ItemInfo) bool { return v.base.HasText(item) }
