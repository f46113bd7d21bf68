package experiment

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"relish/ranker"
)

// Status is what a person or a program may know of the experiments in effect: all but who is forced.
type Status struct {
	Version  string    `json:"version"` // of the file in effect, "" without one
	LoadedAt time.Time `json:"loaded"`
	// Error is why the file as it is now was refused, "" when it is the one in effect.
	Error   string        `json:"error"`
	Holdout float64       `json:"holdout"`
	Layers  []LayerStatus `json:"layers"`
}

// LayerStatus is one layer.
type LayerStatus struct {
	Name        string             `json:"name"`
	Experiments []ExperimentStatus `json:"experiments"`
}

// ExperimentStatus is one experiment. Start and End are null where it is open.
type ExperimentStatus struct {
	Name          string      `json:"name"`
	Description   string      `json:"description"`
	Status        string      `json:"status"`
	Mode          string      `json:"mode"`
	HashAttribute string      `json:"hash_attribute"`
	Seed          string      `json:"seed"`
	Coverage      float64     `json:"coverage"`
	Namespace     any         `json:"namespace"` // [id, start, end] or null
	Start         *time.Time  `json:"start"`
	End           *time.Time  `json:"end"`
	Condition     any         `json:"condition"`
	Forced        int         `json:"forced"` // how many users
	Metric        string      `json:"metric"`
	Guardrails    []Guardrail `json:"guardrails"`
	Arms          []ArmStatus `json:"arms"`
}

// ArmStatus is one arm. Problem says why control stands in for it, "" when it does not.
type ArmStatus struct {
	Name    string   `json:"name"`
	Weight  float64  `json:"weight"`
	Changes []string `json:"changes"` // the keys that the arm sets
	Bundle  string   `json:"bundle"`
	Problem string   `json:"problem"`
}

// Status describes the set; missing says of bundle versions why they cannot be had.
func (s *Set) Status(now time.Time, missing map[string]error) Status {
	out := Status{Version: s.Version, Layers: []LayerStatus{}}
	if s.Holdout != nil {
		out.Holdout = s.Holdout.Share
	}
	for _, l := range s.Layers {
		layer := LayerStatus{Name: l.Name, Experiments: []ExperimentStatus{}}
		for _, e := range l.Experiments {
			layer.Experiments = append(layer.Experiments, e.describe(now, missing))
		}
		out.Layers = append(out.Layers, layer)
	}
	return out
}

// markStopped says of an arm that a stop is about that it is stopped, and why.
func (s *Status) markStopped(stop StoppedArm) {
	for _, l := range s.Layers {
		for _, e := range l.Experiments {
			for i := range e.Arms {
				if e.Name == stop.Experiment && e.Arms[i].Name == stop.Arm {
					e.Arms[i].Problem = fmt.Sprintf("stopped %s: %s", stop.At.Format(time.RFC3339), stop.Reason)
				}
			}
		}
	}
}

func (e *Experiment) describe(now time.Time, missing map[string]error) ExperimentStatus {
	out := ExperimentStatus{Name: e.Name, Description: e.Description, Status: e.Status(now), Mode: e.Mode, HashAttribute: e.HashAttribute,
		Seed: e.Seed, Coverage: e.Coverage, Forced: len(e.forced), Metric: e.Metric, Guardrails: append([]Guardrail{}, e.Guardrails...)}
	if n := e.Namespace; n != nil {
		out.Namespace = []any{n.ID, n.Start, n.End}
	}
	if !e.Start.IsZero() {
		out.Start = &e.Start
	}
	if !e.End.IsZero() {
		out.End = &e.End
	}
	if e.Condition != nil {
		out.Condition = e.Condition.JSON()
	}
	for _, a := range e.Arms {
		arm := ArmStatus{Name: a.Name, Weight: a.Weight, Changes: partNames(a.Change.Sets), Bundle: a.Change.Model}
		if err := missing[a.Change.Model]; err != nil {
			arm.Problem = err.Error()
		}
		out.Arms = append(out.Arms, arm)
	}
	return out
}

// partNames names the parts one by one.
func partNames(parts ranker.RankingPart) []string {
	out := []string{}
	for p := ranker.RankingPart(1); p <= parts; p <<= 1 {
		if parts&p != 0 {
			out = append(out, p.String())
		}
	}
	return out
}

// sameUnavailable reports whether the same versions are missing.
func sameUnavailable(a, b map[string]error) bool {
	return slices.Equal(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
}
