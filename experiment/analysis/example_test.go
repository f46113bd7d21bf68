package analysis_test

import (
	"context"
	"fmt"

	"relish/experiment/analysis"
	"relish/experiment/simulation"
)

// The report of a simulated experiment, in which the treated arm gets 30 % more clicks.
func Example() {
	traffic := simulation.Traffic{Seed: 1, Users: 4000, Days: 10, Past: 5, Lift: 0.3}
	opt := analysis.Options{Experiment: simulation.Experiment, Metric: "ctr"}
	report, err := analysis.Run(context.Background(), traffic.Records(), opt)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Decision.Action, report.Decision.Arm)
	for _, c := range report.Comparisons {
		fmt.Printf("%s: lift %.2f, any look [%.2f, %.2f]\n",
			c.Arm, c.Lift.Value, c.Lift.SeqLow, c.Lift.SeqHigh)
	}
	fmt.Println("users split as configured:", report.SampleRatio.P > 0.001)
	// Output:
	// ship treated
	// treated: lift 0.27, any look [0.14, 0.39]
	// users split as configured: true
}
