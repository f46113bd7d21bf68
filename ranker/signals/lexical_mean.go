package signals

import "relish/ranker"

// lexicalMean is the mean of the catalogue's TF-IDF vectors. The zero value subtracts nothing.
type lexicalMean struct {
	values []float32     // aligned with the signal's tokens, above 0
	table  *tokenWeights // token -> IDF x value; nil: nothing is subtracted
	square float32       // the squared length
}

func newLexicalMean(tokens []uint32, idfs, values []float32) lexicalMean {
	if len(values) == 0 {
		return lexicalMean{}
	}
	m := lexicalMean{values: values, table: newTokenWeights(len(tokens))}
	for i, token := range tokens {
		m.table.add(token, idfs[i]*values[i])
		m.square += values[i] * values[i]
	}
	return m
}

// centering returns the centering of an item's TF-IDF vector of unit length. norm is its length
// before. The item remembers the product with the mean.
func (l *Lexical) centering(it *ranker.ItemInfo, norm float32) centering {
	product, ok := it.Remembered(l.serial, 1)
	if !ok {
		product = 0
		for _, token := range it.Tokens {
			product += l.mean.table.weight(token)
		}
		product /= norm
		it.Remember(l.serial, 1, product)
	}
	return newCentering(product, 1, l.mean.square)
}
