package embeddings

// runCost is what a run of the model costs besides its padded tokens, in tokens: it reads all
// weights once.
const runCost = 10

// plannedRun is a part of a runPlan: the texts from position start to end, without end.
type plannedRun struct {
	start, end int
	full       bool // it holds no further text
}

// runPlan divides texts, sorted by length, into runs of the model so that all runs together cost
// least. A run costs runCost and its padded tokens. The zero value is ready for use; it keeps its
// memory from one plan to the next.
type runPlan struct {
	padded []int // the padded length of each text, ascending
	same   []int // the position of the first text with the same padded length
	costs  []int // costs[n] is the least cost of the first n texts
	starts []int // starts[n] is where the last run of the first n texts starts
}

// reset removes all texts.
func (p *runPlan) reset() { p.padded, p.same = p.padded[:0], p.same[:0] }

// add adds n texts of one padded length, which is at least that of the texts before.
func (p *runPlan) add(n, padded int) {
	first := len(p.padded)
	if first > 0 && p.padded[first-1] == padded {
		first = p.same[first-1]
	}
	for range n {
		p.padded, p.same = append(p.padded, padded), append(p.same, first)
	}
}

// divide finds the runs. A run has at most limit padded tokens, or one text. Texts with different
// padded lengths share a run only if mix is true.
//
// A run that is not full takes all texts of its shortest length: in another run they would not cost
// less. So few starts come into question for each end.
func (p *runPlan) divide(limit int, mix bool) {
	p.costs, p.starts = append(p.costs[:0], 0), append(p.starts[:0], 0)
	for end := 1; end <= len(p.padded); end++ {
		padded := p.padded[end-1]
		fullStart := end - max(1, limit/padded)
		start := max(p.same[end-1], fullStart)
		best := start
		for mix && start > max(0, fullStart) {
			start = max(p.same[start-1], fullStart)
			if p.costs[start]+(end-start)*padded <= p.costs[best]+(end-best)*padded {
				best = start
			}
		}
		p.costs = append(p.costs, p.costs[best]+runCost+(end-best)*padded)
		p.starts = append(p.starts, best)
	}
}

// lastRun returns the last run of the first end texts. Its start is the end of the run before.
func (p *runPlan) lastRun(end, limit int) plannedRun {
	start := p.starts[end]
	return plannedRun{start, end, end-start >= max(1, limit/p.padded[end-1])}
}
