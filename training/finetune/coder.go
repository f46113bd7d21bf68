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

// networkEncoder encodes texts by a network as it is now.
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

// encode gives the texts' unit vectors.
func (c *networkEncoder) encode(ctx context.Context, texts []int32) ([][]float32, error) {
	out := make([][]float32, len(texts))
	err := forEachPack(
		ctx,
		texts,
		func() *pack { return newPack(c.batchShape, c.corpus, c.lowerStates) },
		func(p *pack, members []int) error {
			result, err := c.exec.Exec(p.tensors()...)
			if err != nil {
				return fmt.Errorf("encoder: %w", err)
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

// forEachPack hands out the texts in packs, with the places in texts of those in each.
func forEachPack(
	ctx context.Context, texts []int32, fresh func() *pack, use func(p *pack, members []int) error,
) error {
	for from := 0; from < len(texts); {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, members := fresh(), []int(nil)
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

// minCosine is the least cosine at which the network counts as the encoder's own.
const minCosine = 0.9999

// detectHeads finds how wide an attention head is, which the file does not say, by what gives the vectors that the encoder
// gives. Where nothing does, the encoder is built in a way that the network is not.
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
		alike, err := t.matchesEncoder(ctx, s, texts, want)
		if err != nil {
			return err
		}
		if alike {
			return nil
		}
	}
	return errors.New(
		"encoder: it does not compute what a BERT with its weights does, so that it cannot be tuned")
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

// maxLowerBytes bounds the memory of the states of the layers that are not trained.
const maxLowerBytes = 2 << 30

// computeLowerStates computes the output of the layers below the first trained one, for each text.
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
			"encoder: the states of %d texts take %d MiB, more than %d: train all layers",
			len(t.corpus.tokens), bytes>>20, maxLowerBytes>>20)
	}
	below := *t.net
	below.layers = t.firstTrainedLayer()
	below.createVariables(t.corpus.vocab, 0, 0, 0)
	defer below.finalize()
	exec, err := mlcontext.NewExec(
		t.in.Backend,
		below.ctx,
		func(_ *mlcontext.Context, in []*Node) *Node {
			return below.states(&input{in[0], in[1], in[2], nil}, false)
		},
	)
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
				return fmt.Errorf("encoder: %w", err)
			}
			flat := tensors.MustCopyFlatData[float32](result[0])
			for _, i := range members {
				at := p.start[p.index[all[i]]]
				out[i] = slices.Clone(flat[at*s.dim : (at+len(t.corpus.tokens[i]))*s.dim])
			}
			return nil
		},
	)
	return out, err
}
