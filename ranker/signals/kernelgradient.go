package signals

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// WeightCase is a list that a user was shown and the residuals that are known before it. Training
// fits the weights of a kernel to such cases.
type WeightCase struct {
	History, List []Residual
	LogOdds       []float32 // aligned with List: of a click, whoever the user is
}

// KernelGradient computes how a kernel's weights change the likelihood of users' clicks. It is not
// safe for concurrent use.
type KernelGradient struct {
	user             *userPosterior
	errors, explains vectorSum
}

// NewGradient returns the gradient of the kernel's weights.
func (k *ItemKernel) NewGradient() *KernelGradient {
	return &KernelGradient{k.newPosterior(), newVectorSum(k), newVectorSum(k)}
}

// Size returns the number of weights: those of the fields, of the text, of the numbers, of the
// learned vectors, and the scale.
func (w *KernelWeights) Size() int { return len(w.Fields) + len(w.Numbers) + 3 }

// Multiply multiplies the weights by the factors, in the order of Size.
func (w *KernelWeights) Multiply(factors []float64) KernelWeights {
	scaled := func(x []float32, f []float64) []float32 {
		out := make([]float32, len(x))
		for i := range x {
			out[i] = x[i] * float32(f[i])
		}
		return out
	}
	n, last := len(w.Fields), len(factors)-1
	return KernelWeights{
		Fields: scaled(w.Fields, factors), Text: w.Text * float32(factors[n]),
		Numbers: scaled(w.Numbers, factors[n+1:]), Learned: w.Learned * float32(factors[last-1]),
		Scale: w.Scale * float32(factors[last]),
	}
}

// Add returns the log-likelihood of the case's clicks, given how many there are, without the
// constant logarithms of the clicked items' examination. It adds its derivatives by the logarithms
// of the weights to out, in the order of KernelWeights.Size.
//
// The posterior mean of list item i is K_ih a, with a = Q (I + Q K_hh Q)⁻¹ Q⁻¹ r. If part c
// of the kernel changes, it changes by K^c_ih a - K_ih Q (I + Q K_hh Q)⁻¹ Q K^c_hh a.
func (g *KernelGradient) Add(c *WeightCase, out []float64) (logLikelihood float64) {
	u, k := g.user, g.user.kernel
	u.set(c.History)
	factors := append([]float32(nil), u.factors...)
	errors, means := make([]float32, len(c.List)), make([]float32, len(c.List))
	list, clicks := make([]Residual, len(c.List)), 0
	logOdds := make([]float32, len(c.List))
	for i, r := range c.List {
		content, learned := u.mean(r.Item)
		means[i] = content + learned
		logOdds[i] = c.LogOdds[i] + means[i]
		list[i].Item, list[i].Examined = int32(i), r.Examined
		if r.Value > 0 { // it was clicked
			list[i].Value = 1
			clicks++
		}
	}
	logLikelihood = listErrors(logOdds, list, clicks, errors)
	for i, x := range errors {
		out[len(out)-1] += float64(x * means[i])
	}
	g.errors.set(k, c.List, errors)
	right := make([]float32, len(c.History))
	for i, r := range c.History {
		right[i] = u.roots[i] * g.errors.product(k, r.Item)
	}
	g.explains.set(k, c.History, u.solve(c.History, right))
	u.sum.set(k, c.History, factors)
	g.addParts(out)
	return logLikelihood
}

// listErrors returns the log-likelihood of a list's clicks, which are the values of the list, and
// writes its derivatives by the items' log-odds to errors. The list's offset follows the log-odds,
// so that the expected clicks stay as many as the clicks.
func listErrors(
	logOdds []float32, list []Residual, clicks int, errors []float32,
) (logLikelihood float64) {
	offset, sum, slope := listOffset(logOdds, list, clicks), 0.0, 1e-9
	slopes := make([]float64, len(list)) // of the expected clicks
	for i, r := range list {
		p, e := Sigmoid(float64(logOdds[i])+offset), float64(r.Examined)
		errors[i] = newResidual(r.Item, float64(r.Value), p, e).Value
		sum += float64(errors[i])
		slopes[i] = e * p * (1 - p)
		slope += slopes[i]
		if r.Value == 0 {
			p = 1 - e*p
		}
		logLikelihood += math.Log(max(1e-6, p))
	}
	for i := range errors {
		errors[i] -= float32(slopes[i] / slope * sum)
	}
	return logLikelihood
}

// addParts adds, for each part, its weight x scale x (errors - explains) u.sum.
func (g *KernelGradient) addParts(out []float64) {
	k := g.user.kernel
	scale := float64(k.Weights.Scale)
	for _, v := range g.user.sum.touched {
		field := k.Features.ValueFields[v]
		out[field] += scale * float64(k.Weights.Fields[field]*
			(g.errors.sparse[v]-g.explains.sparse[v])*g.user.sum.sparse[v])
	}
	difference := vek32.Sub(g.errors.dense, g.explains.dense)
	vek32.Mul_Inplace(difference, g.user.sum.weighted)
	texts, numbers := k.Features.Projection.TextDim, len(k.Weights.Numbers)
	for d, x := range difference {
		part := len(k.Weights.Fields)
		switch {
		case d >= texts+numbers:
			part += 1 + numbers
		case d >= texts:
			part += 1 + d - texts
		}
		out[part] += scale * float64(x)
	}
}
