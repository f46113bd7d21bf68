//go:build !amd64

package scorer

const hasVectors = false

func rankCells(*[blockRows]float32, *float32, int, uint, *rankPair) {
	panic("scorer: no rankCells")
}

func evaluateTree(*vectorTree, *rankPair, int, bool, *[blockRows]float64) {
	panic("scorer: no evaluateTree")
}

func addBatch(*[groupBatch][blockRows]float64, *[blockRows]float64, int) {
	panic("scorer: no addBatch")
}
