package signals

// A cosine after the catalogue's mean was subtracted from both vectors needs no new vectors: it
// follows from the inner products of the vectors, the mean and each other.

// centering is what the cosines of a vector need after the mean was subtracted from it.
type centering struct {
	product float32 // of the vector and the mean
	length  float32 // of their difference
}

// minCenteredLength keeps the cosines of a vector that equals the mean finite.
const minCenteredLength = 1e-3

// newCentering returns the centering of a vector with the given length and product with the mean.
// square is the squared length of the mean.
func newCentering(product, length, square float32) centering {
	d := length*length - 2*product + square
	return centering{product, sqrt32(max(d, minCenteredLength*minCenteredLength))}
}

// centeredCosine returns the cosine of two vectors after the mean was subtracted from both. product
// is that of the vectors themselves.
func centeredCosine(product float32, a, b centering, square float32) float32 {
	return (product - a.product - b.product + square) / (a.length * b.length)
}
