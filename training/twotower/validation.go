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
	validNegatives = 99  // random items to compare with the held-out item
	validBatch     = 128 // users of one run of the graph
)

// validation ranks held-out items among random items.
type validation struct {
	model     *model
	users     []heldOutUser
	negatives [][]int32 // by user
	stateExec *mlcontext.Exec
	itemExec  *mlcontext.Exec
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
	v.stateExec, err = mlcontext.NewExec(backend, m.ctx,
		func(_ *mlcontext.Context, items, last *Node) *Node {
			vec, _ := m.vectors(items)
			return m.userVectors(vec, last)
		})
	if err != nil {
		return nil, err
	}
	v.itemExec, err = mlcontext.NewExec(backend, m.ctx,
		func(_ *mlcontext.Context, g *Graph) (vec, bias *Node) {
			return m.vectors(Iota(g, shapes.Make(dtypes.Int32, m.items), 0))
		})
	return v, err
}

func (v *validation) free() {
	v.stateExec.Finalize()
	v.itemExec.Finalize()
}

// vectors returns the current vectors (items x dim) and biases of all items.
func (v *validation) vectors() (vec, bias []float32, err error) {
	out, err := v.itemExec.Exec()
	if err != nil {
		return nil, nil, err
	}
	return tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1]), nil
}

// ndcg returns the NDCG at 10 of each held-out interaction.
func (v *validation) ndcg() ([]float64, error) {
	if len(v.users) == 0 {
		return nil, nil
	}
	vec, bias, err := v.vectors()
	if err != nil {
		return nil, err
	}
	d := v.model.cfg.Dim
	out := make([]float64, 0, len(v.users))
	for from := 0; from < len(v.users); from += validBatch {
		states, err := v.states(v.users[from:min(from+validBatch, len(v.users))])
		if err != nil {
			return nil, err
		}
		for i, state := range states {
			out = append(out, v.userNDCG(from+i, func(item int32) float32 {
				return vek32.Dot(state, vec[int(item)*d:(int(item)+1)*d]) + bias[item]
			}))
		}
	}
	return out, nil
}

// userNDCG returns the NDCG at 10 of one held-out interaction among its random items. A tie counts
// half.
func (v *validation) userNDCG(u int, score func(item int32) float32) float64 {
	next := v.users[u].next
	target, rank := score(next), 0.0
	for _, negative := range v.negatives[u] {
		switch s := score(negative); {
		case negative == next:
		case s > target:
			rank++
		case s == target:
			rank += 0.5
		}
	}
	if rank >= 10 {
		return 0
	}
	return 1 / math.Log2(2+rank)
}

// compare compares a model that has these NDCG on the held-out interactions with item popularity.
// counts says how often each item is a target of the training.
func (v *validation) compare(ndcg []float64, counts []int) Validation {
	out := Validation{Users: len(v.users)}
	var sum, squares float64 // of the paired differences
	n := float64(len(v.users))
	for u := range v.users {
		popular := v.userNDCG(u, func(item int32) float32 { return float32(counts[item]) })
		out.NDCG += ndcg[u] / n
		out.Popularity += popular / n
		sum += ndcg[u] - popular
		squares += (ndcg[u] - popular) * (ndcg[u] - popular)
	}
	if n > 1 {
		out.StandardError = math.Sqrt(max(0, squares-sum*sum/n) / (n - 1) / n)
	}
	return out
}

// Validation compares a model with item popularity on the same held-out interactions. Popularity is
// how often an item is what a user took next in the training data.
type Validation struct {
	Users      int     // whose last interaction is held out
	NDCG       float64 // at 10, of the model, among 99 random items
	Popularity float64 // the same of item popularity
	// StandardError is that of the mean difference between the two, by user.
	StandardError float64
}

// minValidationUsers is the number of held-out users from which a difference says anything.
const minValidationUsers = 10

// BeatsPopularity reports that the model ranks better than item popularity, by more than the
// standard error of the difference. A model that does not has learned nothing of its users that
// can be told from noise.
func (v *Validation) BeatsPopularity() bool {
	return v.Users >= minValidationUsers && v.NDCG-v.Popularity > v.StandardError
}

// states returns the user vectors of at most validBatch users.
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
