package signals

// A cosine after the catalogue's mean was subtracted from both vectors needs no new vectors: it
// follows from the inner products of the vectors, the mean and each other.

// place says where a vector lies relative to the mean.
type place struct {
	product float32 // of the vector and the mean
	length  float32 // of their difference
}

// minCenteredLength keeps the cosines of a vector that equals the mean finite.
const minCenteredLength = 1e-3

// newPlace returns the place of a vector with the given product with the mean and the given length.
// square is the squared length of the mean.
func newPlace(product, length, square float32) place {
	d := length*length - 2*product + square
	return place{product, sqrt32(max(d, minCenteredLength*minCenteredLength))}
}

// centeredCosine returns the cosine of two vectors after the mean was subtracted from both. product
// is that of the vectors themselves.
func centeredCosine(product float32, a, b place, square float32) float32 {
	return (product - a.product - b.product + square) / (a.length * b.length)
}
