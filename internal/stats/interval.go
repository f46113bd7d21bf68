package stats

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// Interval is an estimate with its 95 % confidence interval. Low and High are NaN, and null in
// JSON, if there are too few values for an interval.
type Interval struct {
	Mean float64
	Low  float64
	High float64
	N    int // number of values
}

// intervalJSON is the JSON form of an Interval.
type intervalJSON struct {
	Mean *float64 `json:"mean"`
	Low  *float64 `json:"low"`
	High *float64 `json:"high"`
	N    int      `json:"n"`
}

// MarshalJSON implements json.Marshaler.
func (i Interval) MarshalJSON() ([]byte, error) {
	orNull := func(x float64) *float64 {
		if math.IsNaN(x) {
			return nil
		}
		return &x
	}
	return json.Marshal(intervalJSON{orNull(i.Mean), orNull(i.Low), orNull(i.High), i.N})
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *Interval) UnmarshalJSON(data []byte) error {
	var in intervalJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	orNaN := func(x *float64) float64 {
		if x == nil {
			return math.NaN()
		}
		return *x
	}
	*i = Interval{Mean: orNaN(in.Mean), Low: orNaN(in.Low), High: orNaN(in.High), N: in.N}
	return nil
}

// IsBounded reports whether there are enough values for an interval.
func (i Interval) IsBounded() bool { return !math.IsNaN(i.Low) && !math.IsNaN(i.High) }

// String prints the estimate with three decimals, as in tables.
func (i Interval) String() string { return i.format("%.3f") }

// Signed prints a difference with its sign and three decimals.
func (i Interval) Signed() string { return i.format("%+.3f") }

func (i Interval) format(number string) string {
	if i.N == 0 {
		return "no values"
	}
	text := fmt.Sprintf(number, i.Mean) + " [too few for an interval]"
	if i.IsBounded() {
		text = fmt.Sprintf(number+" ["+number+", "+number+"]", i.Mean, i.Low, i.High)
	}
	zero := fmt.Sprintf(number, 0.0)
	return strings.ReplaceAll(text, "-0.000", zero)
}

// Verdict says in words what a difference shows.
func (i Interval) Verdict() string {
	switch {
	case !i.IsBounded():
		return TooFew
	case i.Low > 0:
		return Better
	case i.High < 0:
		return Worse
	}
	return NoClearDifference
}

// The results of Interval.Verdict.
const (
	Better            = "better"
	Worse             = "worse"
	NoClearDifference = "no clear difference"
	TooFew            = "too few lists"
)
