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

// Stop says that an arm was ended because it hurt. Another seed makes another experiment: a stop is about the one that it
// was measured in.
type Stop struct {
	Experiment string    `json:"experiment"`
	Seed       string    `json:"seed"`
	Arm        string    `json:"arm"`
	At         time.Time `json:"at"`
	Why        string    `json:"why"`
}

// ReadStops reads a file of stops; without one there are none.
func ReadStops(path string) ([]Stop, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Stop
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("%s: %w; remove the file to have stopped arms run again", path, err)
	}
	return out, nil
}

// Stopped returns the experiment's stops, the oldest first. Without AutoStop there are none: a person has decided
// otherwise since.
func (e *Experiment) Stopped(all []Stop) (mine []Stop) {
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

// KeepStops has the keeper remember stopped arms in the file, and honour those that are there.
func (k *Keeper) KeepStops(path string) error {
	k.reading.Lock()
	defer k.reading.Unlock()
	stops, err := ReadStops(path)
	if err != nil {
		return err
	}
	k.stopsPath = path
	k.stops.Store(&stops)
	return nil
}

// Stop ends an arm of an experiment in effect, for good: its users get control's ranking and take no part any more.
// It is on disk when Stop returns no error; in effect in any case. An arm that is stopped already, or not there, is left alone.
func (k *Keeper) Stop(name, arm, why string, at time.Time) error {
	k.reading.Lock()
	defer k.reading.Unlock()
	e := k.Set().Find(name)
	if e == nil || !slices.ContainsFunc(e.Arms, func(a Arm) bool { return a.Name == arm }) {
		return nil
	}
	old := k.Stops()
	if slices.ContainsFunc(e.Stopped(old), func(s Stop) bool { return s.Arm == arm }) {
		return nil
	}
	stops := append(slices.Clone(old), Stop{Experiment: name, Seed: e.Seed, Arm: arm, At: at.UTC(), Why: why})
	data, err := json.MarshalIndent(stops, "", "  ")
	if err != nil {
		return err
	}
	k.stops.Store(&stops) // first: a full disk is no reason to go on hurting
	k.log.Warn("an arm hurts and is stopped; control stands in for it", "experiment", name, "arm", arm, "reason", why)
	if err := renameio.WriteFile(k.stopsPath, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("arm %s of %s is stopped until the next start only: %w", arm, name, err)
	}
	return nil
}

// Stops returns all stops; the slice must not be changed.
func (k *Keeper) Stops() []Stop {
	if s := k.stops.Load(); s != nil {
		return *s
	}
	return nil
}

// withoutStopped puts control in place of stopped arms, like a forced arm: served, and never exposed.
func (s *Set) withoutStopped(trials []ranker.Trial, stops []Stop) {
	for i := range trials {
		t := &trials[i]
		e := s.Find(t.Experiment)
		if e == nil || !slices.ContainsFunc(e.Stopped(stops), func(x Stop) bool { return x.Arm == t.Arm.Name }) {
			continue
		}
		t.Arm, t.Interleave, t.Forced = t.Control, false, true
	}
}
