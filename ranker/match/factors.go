package match

import (
	"context"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// Factors matches by implicit matrix factorisation (Hu, Koren and Volinsky, "Collaborative Filtering for Implicit
// Feedback Datasets", ICDM 2008): items have learned vectors, and the user's is solved for at request time from his
// history, so it follows every click:
//
//	factors.score   the product of the user's vector with the candidate's
//	factors.cosine  their cosine, which leaves the candidate's popularity out
//
// The columns are missing for a candidate or a history that the table does not know.
type Factors struct {
	Items   *ranker.ItemTable
	Dim     int
	Vectors []float32 // items x Dim
	Gram    []float32 // Dim x Dim: the sum over items of v v^T
	Alpha   float64   // how much more an interaction weighs than none
	Lambda  float64   // regularisation per interaction of the user
}

var _ Learned = (*Factors)(nil)

// KindFactors is the kind of Factors's file.
const KindFactors = "factors"

const (
	factorItems = 100 // of the history
	foldSteps   = 8   // of conjugate gradients: the residual is then below a thousandth
)

var factorColumns = []string{"factors.score", "factors.cosine"}

// Kind implements Learned.
func (*Factors) Kind() string { return KindFactors }

// Columns implements ranker.Matcher.
func (*Factors) Columns() []string { return factorColumns }

// Vector returns an item's vector, which aliases Vectors.
func (f *Factors) Vector(item int32) []float32 {
	at := int(item) * f.Dim
	return f.Vectors[at : at+f.Dim : at+f.Dim]
}

// Match implements ranker.Matcher.
func (f *Factors) Match(_ context.Context, in *ranker.MatchInput, out []float32) error {
	clearMissing(out)
	n := in.Numbers(f.Items)
	user := f.Fold(knownItems(n.Recent, factorItems))
	if user == nil {
		return nil
	}
	norm := vek32.Norm(user)
	for i, item := range n.Candidates {
		if item < 0 {
			continue
		}
		v := f.Vector(item)
		score := vek32.Dot(user, v)
		out[2*i] = score
		if both := norm * vek32.Norm(v); both > 1e-9 {
			out[2*i+1] = score / both
		}
	}
	return nil
}

// Fold returns the vector of a user who had these items: the x that solves (Gram + Lambda n I + Alpha sum v v^T) x =
// (1 + Alpha) sum v, by conjugate gradients (Takács, Pilászy and Tikk, RecSys 2011). nil for no items.
func (f *Factors) Fold(history []int32) []float32 {
	if len(history) == 0 {
		return nil
	}
	ridge, alpha := float32(f.Lambda*float64(len(history))), float32(f.Alpha)
	right := make([]float32, f.Dim)
	for _, h := range history {
		addScaled(right, f.Vector(h), 1+alpha)
	}
	return conjugate(right, foldSteps, func(p, out []float32) {
		for d := range out {
			out[d] = ridge*p[d] + vek32.Dot(f.Gram[d*f.Dim:(d+1)*f.Dim], p)
		}
		for _, h := range history {
			v := f.Vector(h)
			addScaled(out, v, alpha*vek32.Dot(v, p))
		}
	})
}

// Encode implements Learned.
func (f *Factors) Encode() []byte {
	w := newWriter(KindFactors)
	w.texts(f.Items.IDs())
	w.count(f.Dim)
	w.number(f.Alpha)
	w.number(f.Lambda)
	w.floats(f.Vectors)
	w.floats(f.Gram)
	return w.buf
}

func decodeFactors(data []byte, shared *ranker.ItemTable) (Learned, *ranker.ItemTable, error) {
	r := newReader(KindFactors, data)
	f := &Factors{Items: r.items(shared), Dim: r.count(1), Alpha: r.number(), Lambda: r.number()}
	if r.err == nil && (f.Dim < 1 || f.Dim > maxDim || f.Alpha < 0 || f.Lambda < 0) {
		return nil, nil, errFile
	}
	f.Vectors = r.floats(f.Items.Len() * f.Dim)
	f.Gram = r.floats(f.Dim * f.Dim)
	return f, f.Items, r.end()
}
