package experiment

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"relish/ranker"
)

// SetStatus describes the experiments in effect. It does not name forced users.
type SetStatus struct {
	Version  string    `json:"version"`         // of the file in effect, "" without one
	LoadedAt time.Time `json:"loaded,omitzero"` // absent without a file
	// Error says why the file as it is now is invalid, "" if it is the one in effect.
	Error   string        `json:"error"`
	Holdout float64       `json:"holdout"`
	Layers  []LayerStatus `json:"layers"`
}

// LayerStatus is one layer.
type LayerStatus struct {
	Name        string   `json:"name"`
	Experiments []Status `json:"experiments"`
}

// Status is one experiment. Start and End are null if it is open on that side.
type Status struct {
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
	Forced        int         `json:"forced"` // number of users
	Metric        string      `json:"metric"`
	Guardrails    []Guardrail `json:"guardrails"`
	Arms          []ArmStatus `json:"arms"`
}

// ArmStatus is one arm. Problem says why control serves its users, "" if the arm itself does.
type ArmStatus struct {
	Name    string   `json:"name"`
	Weight  float64  `json:"weight"`
	Changes []string `json:"changes"` // the keys that the arm sets
	Bundle  string   `json:"bundle"`
	Problem string   `json:"problem"`
}

// Status describes the set. missing holds, for bundle versions that cannot serve, the reason.
func (s *Set) Status(now time.Time, missing map[string]error) SetStatus {
	out := SetStatus{Version: s.Version, Layers: []LayerStatus{}}
	if s.Holdout != nil {
		out.Holdout = s.Holdout.Share
	}
	for _, l := range s.Layers {
		layer := LayerStatus{Name: l.Name, Experiments: []Status{}}
		for _, e := range l.Experiments {
			layer.Experiments = append(layer.Experiments, e.describe(now, missing))
		}
		out.Layers = append(out.Layers, layer)
	}
	return out
}

// markStopped enters a stopped arm as its problem.
func (s *SetStatus) markStopped(stopped StoppedArm) {
	for _, l := range s.Layers {
		for _, e := range l.Experiments {
			for i := range e.Arms {
				if e.Name == stopped.Experiment && e.Arms[i].Name == stopped.Arm {
					at := stopped.At.Format(time.RFC3339)
					e.Arms[i].Problem = fmt.Sprintf("stopped %s: %s", at, stopped.Reason)
				}
			}
		}
	}
}

func (e *Experiment) describe(now time.Time, missing map[string]error) Status {
	out := Status{
		Name:          e.Name,
		Description:   e.Description,
		Status:        e.Status(now),
		Mode:          e.Mode,
		HashAttribute: e.HashAttribute,
		Seed:          e.Seed,
		Coverage:      e.Coverage,
		Forced:        len(e.forced),
		Metric:        e.Metric,
		Guardrails:    append([]Guardrail{}, e.Guardrails...),
	}
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
		arm := ArmStatus{
			Name:    a.Name,
			Weight:  a.Weight,
			Changes: partNames(a.Change.Sets),
			Bundle:  a.Change.Model,
		}
		if err := missing[a.Change.Model]; err != nil {
			arm.Problem = err.Error()
		}
		out.Arms = append(out.Arms, arm)
	}
	return out
}

// partNames returns the names of the parts.
func partNames(parts ranker.RankingPart) []string {
	out := []string{}
	for p := ranker.RankingPart(1); p <= parts; p <<= 1 {
		if parts&p != 0 {
			out = append(out, p.String())
		}
	}
	return out
}

// sameUnavailable reports whether the same versions are unavailable.
func sameUnavailable(a, b map[string]error) bool {
	return slices.Equal(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
}
