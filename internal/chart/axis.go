package chart

import (
	"math"
	"strconv"
	"strings"
)

// Axis describes an axis of a chart.
type Axis struct {
	Label string
	// Min and Max are its bounds; if both are 0 they follow from the data, with a margin.
	Min, Max float64
	// Zero extends an axis that follows from the data so that it includes 0.
	Zero bool
}

// bounds returns the range of the axis over the values, which is never empty. ok is false if no
// value is finite.
func (a Axis) bounds(values []float64) (lo, hi float64, ok bool) {
	if a.Min != 0 || a.Max != 0 {
		return a.Min, max(a.Max, math.Nextafter(a.Min, math.Inf(1))), true
	}
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if finite(v) {
			lo, hi, ok = min(lo, v), max(hi, v), true
		}
	}
	if !ok {
		return 0, 1, false
	}
	low, high := lo, hi
	if a.Zero {
		lo, hi = min(lo, 0), max(hi, 0)
	}
	margin := (hi - lo) * 0.04
	if margin < math.Abs(lo)*1e-9 || margin < 1e-300 { // a single value: put it in the middle
		margin = math.Abs(lo) * 0.1
		if margin < 1e-300 {
			margin = 1
		}
		return lo - margin, hi + margin, true
	}
	if !a.Zero || low < 0 { // an axis that begins or ends at 0 needs no margin there
		lo -= margin
	}
	if !a.Zero || high > 0 {
		hi += margin
	}
	return lo, hi, true
}

// scale maps values from lo..hi to pixels from..to.
type scale struct{ lo, hi, from, to float64 }

// pixel returns the position of a value, limited to the range.
func (s scale) pixel(v float64) float64 {
	v = min(max(v, s.lo), s.hi)
	return s.from + (v-s.lo)/(s.hi-s.lo)*(s.to-s.from)
}

// Ticks returns about n round numbers within lo..hi. Their step is 1, 2 or 5 times a power of ten
// (Heckbert, Nice numbers for graph labels, Graphics Gems 1990). decimals is how many decimals
// distinguish them. It returns none if lo..hi is not a range.
func Ticks(lo, hi float64, n int) (at []float64, decimals int) {
	if !finite(lo) || !finite(hi) || hi <= lo || n < 1 {
		return nil, 0
	}
	raw := (hi - lo) / float64(n)
	power := math.Floor(math.Log10(raw))
	step := math.Pow(10, power)
	switch f := raw / step; {
	case f < 1.5:
	case f < 3:
		step *= 2
	case f < 7:
		step *= 5
	default:
		step *= 10
		power++
	}
	if step == 0 || math.IsInf(step, 0) || lo+step == lo || hi-step == hi {
		return nil, 0 // float64 cannot represent the steps
	}
	for k := math.Ceil(lo/step - 1e-9); k*step <= hi+step*1e-9; k++ {
		at = append(at, k*step+0)
	}
	return at, int(max(0, -power))
}

// tickText formats a tick, large values with a unit.
func tickText(v float64, decimals int) string {
	if a := math.Abs(v); a >= 1e15 || decimals > 9 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	if a := math.Abs(v); a >= 10000 {
		return Number(v)
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// Number formats a value for people: three or four digits, commas between thousands, a unit from a
// million on, and a dash if it is not finite.
func Number(v float64) string {
	a := math.Abs(v)
	switch {
	case !finite(v):
		return "–"
	case a >= 1e15 || a > 0 && a < 1e-4:
		return strconv.FormatFloat(v, 'g', 3, 64)
	case a >= 1e9:
		return trimZeros(v/1e9, 2) + " G"
	case a >= 1e6:
		return trimZeros(v/1e6, 2) + " M"
	case a >= 100:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case a >= 10:
		return trimZeros(v, 1)
	case a >= 1:
		return trimZeros(v, 2)
	default:
		return trimZeros(v, 4)
	}
}

// axisNumber formats values on one axis with the same decimals, to about a hundredth of its range.
func axisNumber(v, lo, hi float64) string {
	decimals := int(math.Ceil(-math.Log10((hi - lo) / 80)))
	if !finite(v) || decimals > 6 || math.Abs(v) >= 10000 {
		return Number(v)
	}
	return strconv.FormatFloat(v+0, 'f', max(decimals, 0), 64)
}

// trimZeros formats a value without trailing zeros.
func trimZeros(v float64, decimals int) string {
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// thousands inserts commas between thousands.
func thousands(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// bottomAxis draws the grid, ticks and label of a horizontal axis at y. The grid starts at top.
func (c *canvas) bottomAxis(a Axis, s scale, top, y float64) {
	ticks, decimals := Ticks(s.lo, s.hi, int(max(2, (s.to-s.from)/58)))
	for _, t := range ticks {
		x, label := s.pixel(t), tickText(t, decimals)
		half := textWidth(label) / 2
		c.line("grid", x, top, x, y)
		c.text("dim mid", min(max(x, half), c.w-half), y+15, 80, label)
	}
	c.line("axis", s.from, y, s.to, y)
	if a.Label != "" {
		c.text("dim end", s.to, y+15+lineSkip, c.w-pad, a.Label)
	}
}

// height returns the pixels that bottomAxis needs below the axis.
func (a Axis) height() float64 {
	if a.Label != "" {
		return 22 + lineSkip
	}
	return 22
}
