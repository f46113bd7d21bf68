package finetune

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/backends"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	mlcontext "github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/viterin/vek/vek32"
)

// networkEncoder encodes texts with the averaged weights of a network.
type networkEncoder struct {
	batchShape
	corpus      *corpus
	lowerStates [][]float32
	exec        *mlcontext.Exec
}

func newNetworkEncoder(
	backend backends.Backend, n *network, s batchShape, c *corpus, lower [][]float32,
) (*networkEncoder, error) {
	exec, err := mlcontext.NewExec(backend, n.ctx, func(_ *mlcontext.Context, in []*Node) *Node {
		return n.vectors(&input{in[0], in[1], in[2], in[3]}, true)
	})
	if err != nil {
		return nil, err
	}
	return &networkEncoder{batchShape: s, corpus: c, lowerStates: lower, exec: exec}, nil
}

func (c *networkEncoder) free() { c.exec.Finalize() }

// encode returns the unit vectors of the texts.
func (c *networkEncoder) encode(ctx context.Context, texts []int32) ([][]float32, error) {
	out := make([][]float32, len(texts))
	err := forEachPack(
		ctx,
		texts,
		func() *pack { return newPack(c.batchShape, c.corpus, c.lowerStates) },
		func(p *pack, members []int) error {
			result, err := c.exec.Exec(p.tensors()...)
			if err != nil {
				return fmt.Errorf("finetune: %w", err)
			}
			flat := tensors.MustCopyFlatData[float32](result[0])
			for _, i := range members {
				n := p.index[texts[i]]
				out[i] = slices.Clone(flat[n*c.dim : (n+1)*c.dim])
			}
			return nil
		},
	)
	return out, err
}

// forEachPack splits the texts into packs. It calls use with each pack and the indices into texts
// that the pack holds.
func forEachPack(
	ctx context.Context, texts []int32, newBatch func() *pack,
	use func(p *pack, members []int) error,
) error {
	for from := 0; from < len(texts); {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, members := newBatch(), []int(nil)
		for from < len(texts) && p.add(texts[from]) {
			members = append(members, from)
			from++
		}
		if err := use(p, members); err != nil {
			return err
		}
	}
	return nil
}

// minCosine is the least cosine at which a vector of the network counts as equal to the encoder's
// vector.
const minCosine = 0.9999

// detectHeads finds the width of an attention head, which the file does not contain. It tries the
// usual widths until the network gives the same vectors as the encoder. If none does, the encoder
// has another architecture, and detectHeads returns an error.
func (t *trainer) detectHeads(ctx context.Context, s batchShape) error {
	texts := make([]int32, min(8, len(t.corpus.tokens)))
	for i := range texts {
		texts[i] = int32(i)
	}
	want, err := t.encodeServed(ctx, t.in.Files, texts)
	if err != nil {
		return err
	}
	for _, width := range headWidths {
		if t.net.dim%width != 0 {
			continue
		}
		t.net.heads = t.net.dim / width
		equal, err := t.matchesEncoder(ctx, s, texts, want)
		if err != nil {
			return err
		}
		if equal {
			return nil
		}
	}
	return errors.New(
		"finetune: the encoder computes other vectors than a BERT network with its weights, so " +
			"that it cannot be fine-tuned")
}

func (t *trainer) matchesEncoder(
	ctx context.Context, s batchShape, texts []int32, want [][]float32,
) (bool, error) {
	t.net.createVariables(t.corpus.vocab, 0, 0, 0)
	defer t.net.finalize()
	c, err := newNetworkEncoder(t.in.Backend, t.net, s, t.corpus, nil)
	if err != nil {
		return false, err
	}
	defer c.free()
	got, err := c.encode(ctx, texts)
	if err != nil {
		return false, err
	}
	for i := range got {
		if vek32.Dot(got[i], want[i]) < minCosine {
			return false, nil
		}
	}
	return true, nil
}

// maxLowerBytes limits the memory for the output of the layers that are not trained.
const maxLowerBytes = 2 << 30

// computeLowerStates returns, for each text, the output of the layers below the first trained one.
// It returns nil if all layers are trained.
func (t *trainer) computeLowerStates(ctx context.Context, s batchShape) ([][]float32, error) {
	if t.firstTrainedLayer() == 0 {
		return nil, nil
	}
	tokens := 0
	for _, text := range t.corpus.tokens {
		tokens += len(text)
	}
	if bytes := tokens * s.dim * 4; bytes > maxLowerBytes {
		return nil, fmt.Errorf(
			"finetune: the layer outputs of %d texts take %d MiB, more than %d; train all layers",
			len(t.corpus.tokens), bytes>>20, maxLowerBytes>>20)
	}
	below := *t.net
	below.layers = t.firstTrainedLayer()
	below.createVariables(t.corpus.vocab, 0, 0, 0)
	defer below.finalize()
	states := func(_ *mlcontext.Context, in []*Node) *Node {
		return below.states(&input{in[0], in[1], in[2], nil}, false)
	}
	exec, err := mlcontext.NewExec(t.in.Backend, below.ctx, states)
	if err != nil {
		return nil, err
	}
	defer exec.Finalize()
	all := make([]int32, len(t.corpus.tokens))
	for i := range all {
		all[i] = int32(i)
	}
	out := make([][]float32, len(all))
	err = forEachPack(
		ctx,
		all,
		func() *pack { return newPack(s, t.corpus, nil) },
		func(p *pack, members []int) error {
			result, err := exec.Exec(p.tensors()[:3]...)
			if err != nil {
				return fmt.Errorf("finetune: %w", err)
			}
			flat := tensors.MustCopyFlatData[float32](result[0])
			for _, i := range members {
				first := p.start[p.index[all[i]]]
				out[i] = slices.Clone(flat[first*s.dim : (first+len(t.corpus.tokens[i]))*s.dim])
			}
			return nil
		},
	)
	return out, err
}
