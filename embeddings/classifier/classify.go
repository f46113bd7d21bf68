package classifier

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"relish/ranker"
)

// Classify labels texts by the active version of a classifier, and returns the version. It waits
// for the encoder until ctx ends. Its errors wrap ErrUnknown or are those of the encoder.
func (r *Registry) Classify(
	ctx context.Context, name string, texts []string,
) (version string, labels []Label, err error) {
	s, err := r.acquire(name)
	if err != nil {
		return "", nil, err
	}
	defer s.inUse.RUnlock()
	vectors, err := s.encoder.Texts(ctx, texts)
	if err != nil {
		return "", nil, err
	}
	r.texts.Add(uint64(len(texts)))
	return s.model.Version, s.model.Classify(texts, vectors), nil
}

// ClassifyItems labels items by the active version of a classifier. It does not wait: items whose
// vector is not at hand have no label and are returned as waiting, and their texts are encoded in
// the background. Its errors wrap ErrUnknown.
func (r *Registry) ClassifyItems(
	name string, items []*ranker.ItemInfo,
) (labels []Label, waiting []*ranker.ItemInfo, err error) {
	s, err := r.acquire(name)
	if err != nil {
		return nil, nil, err
	}
	defer s.inUse.RUnlock()
	vectors := make([][]float32, len(items))
	if s.encoder.Lookup(items, vectors) > 0 {
		for i, v := range vectors {
			if v == nil && s.encoder.HasText(items[i]) {
				waiting = append(waiting, items[i])
			}
		}
		s.encoder.Enqueue(waiting)
	}
	texts := make([]string, len(items))
	labelled := 0
	for i, it := range items {
		if vectors[i] != nil {
			texts[i] = it.Body()
			labelled++
		}
	}
	r.texts.Add(uint64(labelled))
	return s.model.Classify(texts, vectors), waiting, nil
}

// acquire returns the version of a name that serves, with inUse held for reading.
func (r *Registry) acquire(name string) (*served, error) {
	for {
		r.mu.RLock()
		s, refused := r.served[name], r.refused[name]
		r.mu.RUnlock()
		if s == nil {
			return nil, r.unknown(name, refused.err)
		}
		s.inUse.RLock()
		if s.done != nil {
			return s, nil
		}
		s.inUse.RUnlock() // it was swapped out meanwhile
	}
}

func (r *Registry) unknown(name string, refused error) error {
	if refused != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, refused)
	}
	names := slices.Sorted(maps.Keys(r.snapshot()))
	if len(names) == 0 {
		return fmt.Errorf("%w %.60q: no classifier is active; train one with relish classifier "+
			"train", ErrUnknown, name)
	}
	return fmt.Errorf("%w %.60q; known ones are: %s", ErrUnknown, name, strings.Join(names, ", "))
}
