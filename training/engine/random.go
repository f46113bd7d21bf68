package engine

import (
	"fmt"
	"math/rand/v2"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/shapes"
)

// rngDraw is one call of RNGBitGenerator. Go draws the numbers before the graph runs and passes
// both results as inputs. ONNX's own generators keep no state, so their draws cannot be repeated.
type rngDraw struct {
	from         *node // the state before the draw: a parameter, a constant or another draw's next
	next, values *node // the state after the draw and the random bits, both of kind random
}

// RNGBitGenerator implements backends.Builder for uint32 and uint64. The state must be a parameter,
// a constant or the new state of another draw. The same state always gives the same bits.
func (b *Builder) RNGBitGenerator(
	state backends.Op, shape shapes.Shape,
) (newState, values backends.Op, err error) {
	in, err := b.nodesOf(state)
	if err != nil {
		return nil, nil, err
	}
	n := in[0]
	for n.op == "Identity" {
		n = n.in[0]
	}
	if !n.shape.Equal(backends.RNGStateShape) || n.kind == operator {
		return nil, nil, fmt.Errorf(
			"engine: a random state must be a parameter, a constant or the new state of an "+
				"earlier draw, not %s",
			n)
	}
	if shape.DType != dtypes.Uint32 && shape.DType != dtypes.Uint64 {
		return nil, nil, fmt.Errorf("engine: random bits must be uint32 or uint64, not %s",
			shape.DType)
	}
	d := &rngDraw{from: n}
	d.next = b.add(&node{kind: random, shape: n.shape, draw: d})
	d.values = b.add(&node{kind: random, shape: shape, draw: d})
	return d.next, d.values, nil
}

// randomBits fills flat (a []uint32 or []uint64) from a state and returns the state after the draw.
func randomBits(state []uint64, flat any) (next []uint64) {
	source := rand.NewPCG(state[0]^state[2]*0x9e3779b97f4a7c15, state[1])
	next = []uint64{source.Uint64(), source.Uint64(), state[2] + 1}
	switch out := flat.(type) {
	case []uint64:
		for i := range out {
			out[i] = source.Uint64()
		}
	case []uint32:
		i := 0
		for ; i+1 < len(out); i += 2 {
			v := source.Uint64()
			out[i], out[i+1] = uint32(v), uint32(v>>32)
		}
		if i < len(out) {
			out[i] = uint32(source.Uint64())
		}
	}
	return next
}
