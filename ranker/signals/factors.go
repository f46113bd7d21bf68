package signals

import (
	"context"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// MatrixFactorization matches by implicit matrix factorisation (Hu, Koren and Volinsky, "Collaborative Filtering for Implicit
// Feedback Datasets", ICDM 2008): items have learned vectors, and the user's is solved for at request time from his
// history, so it follows every click:
//
//	factorization.score   the product of the user's vector with the candidate's
//	factorization.cosine  their cosine, which leaves the candidate's popularity out
//
// The columns are missing for a candidate or a history that the table does not know.
type MatrixFactorization struct {
	Items   *ranker.ItemTable
	Dim     int
	Vectors []float32 // items x Dim
	Gram    []float32 // Dim x Dim: the sum over items of v v^T
	Alpha   float64   // how much more an interaction weighs than none
	Lambda  float64   // regularisation per interaction of the user
}

var _ TrainedSignal = (*MatrixFactorization)(nil)

// KindMatrixFactorization is the kind of Factors's file.
const KindMatrixFactorization = "factorization"

const (
	maxFactorizationHistory = 100 // of the history
	foldInSteps             = 8   // of conjugate gradients: the residual is then below a thousandth
)

var factorizationColumns = []string{"factorization.score", "factorization.cosine"}

// Kind implements Learned.
func (*MatrixFactorization) Kind() string { return KindMatrixFactorization }

// Columns implements ranker.Matcher.
func (*MatrixFactorization) Columns() []string { return factorizationColumns }

// Vector returns an item's vector, which aliases Vectors.
func (f *MatrixFactorization) Vector(item int32) []float32 {
	at := int(item) * f.Dim
	return f.Vectors[at : at+f.Dim : at+f.Dim]
}

// Compute implements ranker.Matcher.
func (f *MatrixFactorization) Compute(_ context.Context, in *ranker.SignalInput, out []float32) error {
	fillMissing(out)
	n := in.ItemIndices(f.Items)
	user := f.FoldIn(distinctItems(n.Recent, maxFactorizationHistory))
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

// FoldIn returns the vector of a user who had these items: the x that solves (Gram + Lambda n I + Alpha sum v v^T) x =
// (1 + Alpha) sum v, by conjugate gradients (Takács, Pilászy and Tikk, RecSys 2011). nil for no items.
func (f *MatrixFactorization) FoldIn(history []int32) []float32 {
	if len(history) == 0 {
		return nil
	}
	ridge, alpha := float32(f.Lambda*float64(len(history))), float32(f.Alpha)
	right := make([]float32, f.Dim)
	for _, h := range history {
		addScaled(right, f.Vector(h), 1+alpha)
	}
	return conjugateGradient(right, foldInSteps, func(p, out []float32) {
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
func (f *MatrixFactorization) Encode() []byte {
	w := newFileWriter(KindMatrixFactorization)
	w.strings(f.Items.IDs())
	w.count(f.Dim)
	w.number(f.Alpha)
	w.number(f.Lambda)
	w.floats(f.Vectors)
	w.floats(f.Gram)
	return w.buf
}

func decodeMatrixFactorization(data []byte, shared *ranker.ItemTable) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindMatrixFactorization, data)
	f := &MatrixFactorization{Items: r.items(shared), Dim: r.count(1), Alpha: r.number(), Lambda: r.number()}
	if r.err == nil && (f.Dim < 1 || f.Dim > maxDim || f.Alpha < 0 || f.Lambda < 0) {
		return nil, nil, errMalformedFile
	}
	f.Vectors = r.floats(f.Items.Len() * f.Dim)
	f.Gram = r.floats(f.Dim * f.Dim)
	return f, f.Items, r.end()
}
