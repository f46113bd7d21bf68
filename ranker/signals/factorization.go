package signals

import (
	"context"

	"github.com/viterin/vek/vek32"

	"relish/ranker"
)

// MatrixFactorization compares by implicit-feedback matrix factorization (Hu, Koren and Volinsky,
// "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008). Items have learned vectors.
// The user's vector is solved for at request time from the history, so it follows every click:
//
//	factorization.score   inner product of the user's vector and the candidate's
//	factorization.cosine  their cosine, which leaves out the candidate's popularity
//
// The columns are missing for an unknown candidate, and if the history has no known item.
// MatrixFactorization is read-only once built and safe for concurrent use.
type MatrixFactorization struct {
	Items   *ranker.ItemTable
	Dim     int
	Vectors []float32 // items x Dim, row-major
	Gram    []float32 // Dim x Dim: the sum over items of v v^T
	Alpha   float64   // weight of an interaction beyond that of no interaction, >= 0
	Lambda  float64   // regularization for each interaction of the user, >= 0

	norms []float32 // by item: the length of its vector; nil if it was not read from a file
}

var _ TrainedSignal = (*MatrixFactorization)(nil)

// KindMatrixFactorization is the kind of MatrixFactorization in bundles.
const KindMatrixFactorization = "factorization"

const (
	maxFactorizationHistory = 100
	foldInSteps             = 8 // steps of conjugate gradients; the residual is then below 0.001
)

var factorizationColumns = []string{"factorization.score", "factorization.cosine"}

// Kind implements TrainedSignal.
func (*MatrixFactorization) Kind() string { return KindMatrixFactorization }

// Columns implements ranker.Signal.
func (*MatrixFactorization) Columns() []string { return factorizationColumns }

// Vector returns an item's vector, which aliases Vectors.
func (f *MatrixFactorization) Vector(item int32) []float32 {
	at := int(item) * f.Dim
	return f.Vectors[at : at+f.Dim : at+f.Dim]
}

// InMemory implements ranker.InMemory.
func (*MatrixFactorization) InMemory() bool { return true }

// Compute implements ranker.Signal.
func (f *MatrixFactorization) Compute(
	_ context.Context, in *ranker.SignalInput, out []float32,
) error {
	fillMissing(out)
	indices := in.ItemIndices(f.Items)
	kept := ranker.OfHistory(in, f, nil, func() (*factorizationUser, int) {
		u := &factorizationUser{
			vector: f.FoldIn(distinctItems(indices.Recent, maxFactorizationHistory)),
		}
		if u.vector != nil {
			u.norm = vek32.Norm(u.vector)
		}
		return u, 64 + 4*len(u.vector)
	})
	user, norm := kept.vector, kept.norm
	if user == nil {
		return nil
	}
	vectors := newRowSet(f.Dim)
	defer vectors.free()
	for _, item := range indices.Candidates {
		if item >= 0 {
			vectors.add(f.Vector(item))
		}
	}
	scores := vectors.dots(user)
	for i, item := range indices.Candidates {
		if item < 0 {
			continue
		}
		out[2*i] = scores[0]
		if norms := norm * f.norm(item); norms > 1e-9 {
			out[2*i+1] = scores[0] / norms
		}
		scores = scores[1:]
	}
	return nil
}

// norm returns the length of an item's vector.
func (f *MatrixFactorization) norm(item int32) float32 {
	if f.norms != nil {
		return f.norms[item]
	}
	return vek32.Norm(f.Vector(item))
}

// factorizationUser is what the history says of a user.
type factorizationUser struct {
	vector []float32 // nil without a known item
	norm   float32   // of vector
}

// FoldIn returns the vector of a user with these items, nil for no items. It is the x that solves
//
//	(Gram + Lambda n I + Alpha sum v v^T) x = (1 + Alpha) sum v
//
// by conjugate gradients (Takács, Pilászy and Tikk, RecSys 2011). Its length is Dim.
func (f *MatrixFactorization) FoldIn(history []int32) []float32 {
	if len(history) == 0 {
		return nil
	}
	ridge, alpha := float32(f.Lambda*float64(len(history))), float32(f.Alpha)
	b := make([]float32, f.Dim)
	for _, h := range history {
		addScaled(b, f.Vector(h), 1+alpha)
	}
	vectors := newRowSet(f.Dim)
	defer vectors.free()
	for _, h := range history {
		vectors.add(f.Vector(h))
	}
	return conjugateGradient(b, foldInSteps, func(p, out []float32) {
		multiply(f.Gram, p, out)
		for d := range out {
			out[d] = ridge*p[d] + out[d]
		}
		products := vectors.dots(p)
		vek32.MulNumber_Inplace(products, alpha)
		vectors.addTo(out, products)
	})
}

// Encode implements TrainedSignal.
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

func decodeMatrixFactorization(
	data []byte, shared *ranker.ItemTable,
) (TrainedSignal, *ranker.ItemTable, error) {
	r := newFileReader(KindMatrixFactorization, data)
	f := &MatrixFactorization{
		Items: r.items(shared), Dim: r.dim(), Alpha: r.number(), Lambda: r.number(),
	}
	if r.err == nil && (f.Dim < 1 || f.Alpha < 0 || f.Lambda < 0) {
		return nil, nil, malformed("dimension %d, alpha %g, lambda %g", f.Dim, f.Alpha, f.Lambda)
	}
	f.Vectors = r.floats(f.Items.Len() * f.Dim)
	f.Gram = r.floats(f.Dim * f.Dim)
	if r.err == nil {
		f.norms = make([]float32, f.Items.Len())
		for i := range f.norms {
			f.norms[i] = vek32.Norm(f.Vector(int32(i)))
		}
	}
	return f, f.Items, r.end()
}
