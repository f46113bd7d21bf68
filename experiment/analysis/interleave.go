package analysis

import (
	"fmt"
	"math"

	"relish/internal/stats"
)

// Interleaving is the result of an experiment whose lists are drafted from two arms: each user sees both,
// and a click is a vote for the arm that placed the item (Radlinski, Kurup, Joachims, CIKM 2008;
// Chapelle, Joachims, Radlinski, Yue, TOIS 2012). It says who is better, not by how much.
type Interleaving struct {
	Arms   [2]string  `json:"arms"` // the first one is the control
	Users  int        `json:"users"`
	Voters int        `json:"voters"` // users with a click on either arm's items
	Clicks [2]float64 `json:"clicks"`
	Wins   [2]int     `json:"wins"` // voters with more clicks on that arm's items
	Ties   int        `json:"ties"`
	// Preference is the mean over voters of (clicks on the second arm's items - on the first's) / both:
	// 0 is no preference, 1 the second arm always.
	Preference  Range `json:"preference"`
	P           Float `json:"p"`            // paired t-test of no preference
	SignP       Float `json:"p_sign"`       // exact sign test over the users who have a preference
	SequentialP Float `json:"p_sequential"` // valid at any look
}

// analyzeInterleaving fills the report of an interleaving.
func (c *collector) analyzeInterleaving(r *Report) {
	in := &Interleaving{Arms: c.interleavedArms}
	var votes stats.Moments
	for i := range c.users {
		u := &c.users[i]
		if !u.inWindow || u.crossed {
			continue
		}
		in.Users++
		a, b := float64(u.credit[0]), float64(u.credit[1])
		if a+b == 0 {
			continue
		}
		in.Voters++
		in.Clicks[0], in.Clicks[1] = in.Clicks[0]+a, in.Clicks[1]+b
		switch {
		case a > b:
			in.Wins[0]++
		case b > a:
			in.Wins[1]++
		default:
			in.Ties++
		}
		votes.Add([4]float64{stats.Numerator: (b - a) / (a + b), stats.Denominator: 1})
	}
	k := comparer{collector: c, alpha: c.opt.Alpha}
	e := votes.Ratio()
	d := stats.Difference{Value: e.Value, SE: e.SE, DF: e.N - 1, N: e.N}
	in.Preference, in.P, in.SequentialP = k.rangeOf(d), Float(d.PValue()), Float(d.SequentialPValue())
	in.SignP = Float(stats.SignTest(float64(in.Wins[1]), float64(in.Wins[0]+in.Wins[1])))
	r.Control, r.Interleaving = in.Arms[0], in
	r.Decision = c.decideInterleaving(in, d, r.Days)
}

func (c *collector) decideInterleaving(in *Interleaving, d stats.Difference, days int) Decision {
	low, high := float64(in.Preference.SeqLow), float64(in.Preference.SeqHigh)
	told := fmt.Sprintf("%d of %d voters clicked more on %s's items, %d on %s's", in.Wins[1], in.Voters, in.Arms[1], in.Wins[0], in.Arms[0])
	switch {
	case in.Voters < minUsers || math.IsNaN(low):
		return Decision{Action: KeepRunning, DaysToGo: days, Summary: fmt.Sprintf("Keep running: %d users clicked so far; less than %d say nothing.", in.Voters, minUsers)}
	case low > 0:
		return Decision{Action: Ship, Arm: in.Arms[1], Summary: fmt.Sprintf("Users prefer %s: %s. "+
			"An A/B experiment tells what it is worth, and guards latency and the rest, which both arms share in one list.", in.Arms[1], told)}
	case high < 0:
		return Decision{Action: Stop, Summary: fmt.Sprintf("Users prefer %s: %s. Stop, and keep it.", in.Arms[0], told)}
	}
	n := remainingDays(d.UnitsToDecide(max(math.Abs(d.Value), c.opt.MinEffect), c.opt.Alpha, c.opt.Power), d.N, days)
	return Decision{Action: KeepRunning, DaysToGo: n, Summary: fmt.Sprintf("Keep running for %s: %s; that may be chance.", formatDays(n), told)}
}
