package signals

import (
	"math"
	"slices"

	"relish/internal/parallel"
	served "relish/ranker/signals"
)

const (
	weightCases    = 800 // lists that choose the weights at most
	minWeightCases = 50  // fewer lists leave the weights as they start
	weightSteps    = 16
	// testShare: one user in testShare chooses the weights. The others fit the learned vectors that
	// are weighed, because vectors look better on the lists that they were fitted to.
	testShare = 3
	// servedResiduals is the number of shown items that a server keeps for a user, see
	// features.DefaultConfig.
	servedResiduals = 256
	// The precisions of the logarithms of the weights around the start, so that few lists do not
	// move them far. The scale moves more easily: a log may show no preferences at all.
	weightPrecision, scalePrecision = 20, 1
	// servedScale multiplies the fitted scale. Few users with strong preferences decide the
	// likelihood. The order of most users' lists is best at about half of its best scale.
	servedScale = 0.5
	// Step sizes of Adam (Kingma and Ba 2015), which are large, because there are few steps.
	weightRate, weightMomentum, weightDecay = 0.3, 0.7, 0.9
	maxWeightStep                           = 0.7 // of a weight's logarithm
)

// startWeights are the weights before they are fitted, for a catalogue with the given numbers of
// fields.
func startWeights(fields, numbers int) served.KernelWeights {
	return served.KernelWeights{
		Fields: slices.Repeat([]float32{1.6 / float32(max(1, fields))}, fields), Text: 0.3,
		Numbers: slices.Repeat([]float32{0.12 / float32(max(1, numbers))}, numbers),
		Learned: 1, Scale: 2,
	}
}

// fitKernelWeights returns the weights with which users' earlier lists predict their last two lists
// best.
func fitKernelWeights(
	gp *served.ResidualGP, users []userLists, seed uint64,
) (served.KernelWeights, error) {
	start := gp.Kernel.Weights
	others, cases := splitCases(gp, users)
	if len(cases) >= minWeightCases {
		if err := fitLearnedVectors(gp.Kernel, others, seed); err != nil {
			return start, err
		}
		start = climb(gp.Kernel, cases)
	}
	start.Scale *= servedScale
	return start, nil
}

// splitCases returns the users that fit the learned vectors, and the lists of the other users.
func splitCases(
	gp *served.ResidualGP, users []userLists,
) (others []userLists, cases []served.WeightCase) {
	for u, lists := range users {
		if u%testShare != 0 || len(cases) >= weightCases {
			others = append(others, lists)
			continue
		}
		for skipped := 1; skipped <= 2 && skipped < len(lists); skipped++ {
			c := served.WeightCase{
				History: lists.residuals(skipped, servedResiduals), List: lists[len(lists)-skipped],
			}
			for _, r := range c.List {
				c.LogOdds = append(c.LogOdds, gp.LogOdds[r.Item])
			}
			cases = append(cases, c)
		}
	}
	return others, cases
}

// climb returns the weights with the highest posterior density that gradient ascent finds.
func climb(kernel *served.ItemKernel, cases []served.WeightCase) served.KernelWeights {
	start := kernel.Weights
	n := start.Size()
	best, highest := start, math.Inf(-1)
	logs, mean, squares, factors := make([]float64, n), make([]float64, n), make([]float64, n),
		make([]float64, n)
	for step := range weightSteps {
		for i, x := range logs {
			factors[i] = math.Exp(x)
		}
		weights := start.Multiply(factors)
		objective, gradient := likelihood(kernel.WithWeights(weights), cases)
		for i, x := range logs {
			precision := float64(weightPrecision)
			if i == n-1 {
				precision = scalePrecision
			}
			objective -= precision * x * x / 2
			gradient[i] -= precision * x
		}
		if objective > highest {
			best, highest = weights, objective
		}
		rate := weightRate * (1 - float64(step)/weightSteps)
		for i, g := range gradient {
			g /= float64(len(cases))
			mean[i] = weightMomentum*mean[i] + (1-weightMomentum)*g
			squares[i] = weightDecay*squares[i] + (1-weightDecay)*g*g
			change := rate * mean[i] / (math.Sqrt(squares[i]) + 1e-4)
			logs[i] += max(-maxWeightStep, min(maxWeightStep, change))
		}
	}
	return best
}

// likelihood returns the log-likelihood of the cases' clicks and its derivatives by the logarithms
// of the weights.
func likelihood(kernel *served.ItemKernel, cases []served.WeightCase) (sum float64, out []float64) {
	n := kernel.Weights.Size()
	parts, gradients := make([]float64, len(cases)), make([]float64, len(cases)*n)
	parallel.Rows(len(cases), 1, func(from, to int) {
		gradient := kernel.NewGradient()
		for i := from; i < to; i++ {
			parts[i] = gradient.Add(&cases[i], gradients[i*n:(i+1)*n])
		}
	})
	out = make([]float64, n)
	for i, x := range parts { // in a fixed order, so that rounding is repeatable
		sum += x
		addScaled(out, gradients[i*n:(i+1)*n], 1)
	}
	return sum, out
}
