package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"relish/internal/durable"
	"relish/ranker"
)

// StoppedArm says that an arm was stopped for breaching a guardrail. It holds for the seed that was
// measured; with another seed the experiment starts again.
type StoppedArm struct {
	Experiment string    `json:"experiment"`
	Seed       string    `json:"seed"`
	Arm        string    `json:"arm"`
	At         time.Time `json:"at"`
	Reason     string    `json:"reason"`
}

// ReadStoppedArms reads a file of stopped arms. Without a file there are none.
func ReadStoppedArms(path string) ([]StoppedArm, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []StoppedArm
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("stopped arms %s: %w; remove the file to let all arms run again",
			path, err)
	}
	return out, nil
}

// StoppedArms returns the experiment's stopped arms, oldest first. Without AutoStop there are none:
// removing the key lets them run again.
func (e *Experiment) StoppedArms(all []StoppedArm) (own []StoppedArm) {
	if !e.AutoStop {
		return nil
	}
	for _, s := range all {
		if s.Experiment == e.Name && s.Seed == e.Seed {
			own = append(own, s)
		}
	}
	return own
}

// LoadStoppedArms reads the stopped arms from the file, and keeps later ones there.
func (w *Watcher) LoadStoppedArms(path string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	stopped, err := ReadStoppedArms(path)
	if err != nil {
		return err
	}
	w.stoppedPath = path
	w.stopped.Store(&stopped)
	return nil
}

// StopArm stops an arm of an experiment in effect for good: its users get control's ranking and are
// no longer exposed.
//
// The stop takes effect in any case; without an error it is also on disk. An arm that is unknown or
// already stopped is left as it is.
func (w *Watcher) StopArm(name, arm, reason string, at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.Set().Find(name)
	if e == nil || !slices.ContainsFunc(e.Arms, func(a Arm) bool { return a.Name == arm }) {
		return nil
	}
	old := w.StoppedArms()
	if slices.ContainsFunc(e.StoppedArms(old), func(s StoppedArm) bool { return s.Arm == arm }) {
		return nil
	}
	stopped := append(slices.Clone(old), StoppedArm{
		Experiment: name, Seed: e.Seed, Arm: arm, At: at.UTC(), Reason: reason,
	})
	data, err := json.MarshalIndent(stopped, "", "  ")
	if err != nil {
		return err
	}
	w.stopped.Store(&stopped) // before writing: a full disk must not keep a harmful arm running
	w.log.Warn("an arm breaches a guardrail and is stopped; control serves its users",
		"experiment", name, "arm", arm, "reason", reason)
	if err := durable.WriteFile(durable.Disk, w.stoppedPath, append(data, '\n')); err != nil {
		return fmt.Errorf("arm %s of experiment %s is stopped only until the next start: %w",
			arm, name, err)
	}
	return nil
}

// StoppedArms returns all stopped arms. The caller must not change the slice.
func (w *Watcher) StoppedArms() []StoppedArm {
	if stopped := w.stopped.Load(); stopped != nil {
		return *stopped
	}
	return nil
}

// replaceStopped replaces stopped arms with control. Like a forced arm, it is served but never
// exposed.
func (s *Set) replaceStopped(assignments []ranker.Assignment, stopped []StoppedArm) {
	for i := range assignments {
		a := &assignments[i]
		e := s.Find(a.Experiment)
		isArm := func(x StoppedArm) bool { return x.Arm == a.Arm.Name }
		if e == nil || !slices.ContainsFunc(e.StoppedArms(stopped), isArm) {
			continue
		}
		a.Arm, a.Interleave, a.Forced = a.Control, false, true
	}
}
