package scorer

import "golang.org/x/sys/cpu"

var hasVectors = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW

// rankCells writes the ranks of the first 16 x sixteens cells. n is the length of thresholds. It
// needs hasVectors.
//
//go:noescape
func rankCells(cells *[blockRows]float32, thresholds *float32, n int, sixteens uint, out *rankPair)

// evaluateTree writes the values of the tree's leaves for the first 8 x eights rows of a block, or
// adds them to what values holds. ranks is vectorScratch.ranks. The tree has a node at least. It
// needs hasVectors.
//
//go:noescape
func evaluateTree(t *vectorTree, ranks *rankPair, eights int, add bool, values *[blockRows]float64)

// addBatch adds the values of a whole batch to the scores of the first 8 x eights rows, in the
// order of program.sum. It needs hasVectors.
//
//go:noescape
func addBatch(values *[groupBatch][blockRows]float64, scores *[blockRows]float64, eights int)
