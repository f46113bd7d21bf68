package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"relish/ranker"
)

// StoppedArm says that an arm was ended because it hurt. Another seed makes another experiment: a stop is about the one that it
// was measured in.
type StoppedArm struct {
	Experiment string    `json:"experiment"`
	Seed       string    `json:"seed"`
	Arm        string    `json:"arm"`
	At         time.Time `json:"at"`
	Reason     string    `json:"why"`
}

// ReadStoppedArms reads a file of stops; without one there are none.
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
		return nil, fmt.Errorf("%s: %w; remove the file to have stopped arms run again", path, err)
	}
	return out, nil
}

// StoppedArms returns the experiment's stops, the oldest first. Without AutoStop there are none: a person has decided
// otherwise since.
func (e *Experiment) StoppedArms(all []StoppedArm) (mine []StoppedArm) {
	if !e.AutoStop {
		return nil
	}
	for _, s := range all {
		if s.Experiment == e.Name && s.Seed == e.Seed {
			mine = append(mine, s)
		}
	}
	return mine
}

// LoadStoppedArms has the keeper remember stopped arms in the file, and honour those that are there.
func (k *Watcher) LoadStoppedArms(path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	stops, err := ReadStoppedArms(path)
	if err != nil {
		return err
	}
	k.stoppedPath = path
	k.stopped.Store(&stops)
	return nil
}

// StopArm ends an arm of an experiment in effect, for good: its users get control's ranking and take no part any more.
// It is on disk when Stop returns no error; in effect in any case. An arm that is stopped already, or not there, is left alone.
func (k *Watcher) StopArm(name, arm, why string, at time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.Set().Find(name)
	if e == nil || !slices.ContainsFunc(e.Arms, func(a Arm) bool { return a.Name == arm }) {
		return nil
	}
	old := k.StoppedArms()
	if slices.ContainsFunc(e.StoppedArms(old), func(s StoppedArm) bool { return s.Arm == arm }) {
		return nil
	}
	stops := append(slices.Clone(old), StoppedArm{Experiment: name, Seed: e.Seed, Arm: arm, At: at.UTC(), Reason: why})
	data, err := json.MarshalIndent(stops, "", "  ")
	if err != nil {
		return err
	}
	k.stopped.Store(&stops) // first: a full disk is no reason to go on hurting
	k.log.Warn("an arm hurts and is stopped; control stands in for it", "experiment", name, "arm", arm, "reason", why)
	if err := renameio.WriteFile(k.stoppedPath, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("arm %s of %s is stopped until the next start only: %w", arm, name, err)
	}
	return nil
}

// StoppedArms returns all stops; the slice must not be changed.
func (k *Watcher) StoppedArms() []StoppedArm {
	if s := k.stopped.Load(); s != nil {
		return *s
	}
	return nil
}

// replaceStopped puts control in place of stopped arms, like a forced arm: served, and never exposed.
func (s *Set) replaceStopped(trials []ranker.Assignment, stops []StoppedArm) {
	for i := range trials {
		t := &trials[i]
		e := s.Find(t.Experiment)
		if e == nil || !slices.ContainsFunc(e.StoppedArms(stops), func(x StoppedArm) bool { return x.Arm == t.Arm.Name }) {
			continue
		}
		t.Arm, t.Interleave, t.Forced = t.Control, false, true
	}
}
