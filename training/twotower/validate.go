package twotower

import (
	"math"
	"math/rand/v2"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	. "github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	mlcontext "github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/viterin/vek/vek32"
)

const (
	validNegatives = 99  // random items beside the held-out one
	validBatch     = 128 // users per run
)

// validation ranks held-out steps among random items.
type validation struct {
	model     *model
	users     []heldOutUser
	negatives [][]int32 // per user
	stateExec *mlcontext.Exec
	tableExec *mlcontext.Exec
}

func newValidation(backend backends.Backend, m *model, users []heldOutUser) (*validation, error) {
	v := &validation{model: m, users: users, negatives: make([][]int32, len(users))}
	r := rand.New(rand.NewPCG(m.cfg.Seed, 4))
	for u := range users {
		for range validNegatives {
			v.negatives[u] = append(v.negatives[u], int32(r.IntN(m.items)))
		}
	}
	var err error
	v.stateExec, err = mlcontext.NewExec(
		backend,
		m.ctx,
		func(_ *mlcontext.Context, items, last *Node) *Node {
			vec, _ := m.vectors(items)
			return m.userVectors(vec, last)
		},
	)
	if err != nil {
		return nil, err
	}
	v.tableExec, err = mlcontext.NewExec(
		backend,
		m.ctx,
		func(_ *mlcontext.Context, g *Graph) (vec, bias *Node) {
			return m.vectors(Iota(g, shapes.Make(dtypes.Int32, m.items), 0))
		},
	)
	return v, err
}

func (v *validation) free() {
	v.stateExec.Finalize()
	v.tableExec.Finalize()
}

// vectors gives all items' vectors (items x dim) and biases as they are now.
func (v *validation) vectors() (vec, bias []float32, err error) {
	out, err := v.tableExec.Exec()
	if err != nil {
		return nil, nil, err
	}
	return tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1]), nil
}

// ndcg is the mean NDCG at 10, NaN if nothing was held out. Ties count as half lost.
func (v *validation) ndcg() (float64, error) {
	if len(v.users) == 0 {
		return math.NaN(), nil
	}
	vec, bias, err := v.vectors()
	if err != nil {
		return 0, err
	}
	d := v.model.cfg.Dim
	score := func(state []float32, item int32) float32 {
		return vek32.Dot(state, vec[int(item)*d:(int(item)+1)*d]) + bias[item]
	}
	sum := 0.0
	for from := 0; from < len(v.users); from += validBatch {
		states, err := v.states(v.users[from:min(from+validBatch, len(v.users))])
		if err != nil {
			return 0, err
		}
		for i, state := range states {
			u := from + i
			own, above := score(state, v.users[u].next), 0.0
			for _, rival := range v.negatives[u] {
				switch s := score(state, rival); {
				case rival == v.users[u].next:
				case s > own:
					above++
				case s == own:
					above += 0.5
				}
			}
			if above < 10 {
				sum += 1 / math.Log2(2+above)
			}
		}
	}
	return sum / float64(len(v.users)), nil
}

// states gives the users' vectors.
func (v *validation) states(users []heldOutUser) ([][]float32, error) {
	length, d := v.model.cfg.HistoryLength, v.model.cfg.Dim
	items, last := make([]int32, validBatch*length), make([]float32, validBatch*length)
	for i, u := range users {
		copy(items[i*length:], u.history)
		last[i*length+len(u.history)-1] = 1
	}
	out, err := v.stateExec.Exec(tensors.FromFlatDataAndDimensions(items, validBatch, length),
		tensors.FromFlatDataAndDimensions(last, validBatch, length))
	if err != nil {
		return nil, err
	}
	flat := tensors.MustCopyFlatData[float32](out[0])
	states := make([][]float32, len(users))
	for i := range states {
		states[i] = flat[i*d : (i+1)*d]
	}
	return states, nil
}
