package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"relish/internal/durable"
	"relish/ranker"
)

// Files that say what is active and what was.
const (
	activeFile  = "active"
	historyFile = "activations"
)

// maxHistory is how many activations are remembered.
const maxHistory = 1000

// Activation is one line of the activation history.
type Activation struct {
	Time     time.Time `json:"time"`
	Version  string    `json:"version"`
	By       string    `json:"by"`
	Reason   string    `json:"why"`
	Rollback bool      `json:"rollback"` // back to what was active before
}

// history is the active version and how it came to be active.
type history struct {
	active  string // ranker.PriorVersion if no bundle is
	entries []Activation
	// stack is the prior, then every activation that was not rolled back. Its last entry is active.
	stack []string
}

// readHistory reads the activation history of root. It skips lines that cannot be read, since they
// must not keep a bundle from being served. If the active file names no version, it returns both
// the history and an error.
func readHistory(root string) (*history, error) {
	h := &history{active: ranker.PriorVersion, stack: []string{ranker.PriorVersion}}
	data, err := os.ReadFile(filepath.Join(root, historyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		var a Activation
		if json.Unmarshal(line, &a) == nil {
			h.add(a)
		}
	}
	data, err = os.ReadFile(filepath.Join(root, activeFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		h.active = strings.TrimSpace(string(data))
	}
	if h.active != ranker.PriorVersion && !IsVersion(h.active) {
		return h, fmt.Errorf("%s contains %.60q, which is not a version: activate a version that "+
			"GET /models lists",
			filepath.Join(root, activeFile), h.active)
	}
	if h.stack[len(h.stack)-1] != h.active {
		// The file was changed by hand, or a process died before it wrote the line.
		h.add(Activation{
			Time: time.Now().UTC(), Version: h.active, By: "unknown", Reason: "found active",
		})
	}
	return h, nil
}

func (h *history) add(a Activation) {
	h.entries = append(h.entries, a)
	if i := h.lastIndex(a.Version); a.Rollback && i >= 0 {
		h.stack = h.stack[:i+1]
	} else if i != len(h.stack)-1 {
		h.stack = append(h.stack, a.Version)
	}
}

// lastIndex returns the last position of the version in the stack, -1 if it is not there.
func (h *history) lastIndex(version string) int {
	for i := len(h.stack) - 1; i >= 0; i-- {
		if h.stack[i] == version {
			return i
		}
	}
	return -1
}

// previousOf returns what was active before the version, "" if nothing was. For a version that was
// never active it returns the active one.
func (h *history) previousOf(version string) string {
	switch i := h.lastIndex(version); i {
	case -1:
		return h.active
	case 0:
		return ""
	default:
		return h.stack[i-1]
	}
}

// activate records an activation, unless the version is active already. A rollback
// fails if from is no longer active.
func activate(root string, a Activation, from string) error {
	unlock, err := lockRoot(root)
	if err != nil {
		return err
	}
	defer unlock()
	h, err := readHistory(root)
	if h == nil || err != nil && a.Rollback {
		return err
	}
	if a.Rollback && h.active != from {
		return fmt.Errorf("cannot roll back from %s: %s became active meanwhile; look at GET "+
			"/models and try again",
			from, h.active)
	}
	if h.active == a.Version {
		return nil
	}
	err = durable.WriteFile(durable.Disk, filepath.Join(root, activeFile), []byte(a.Version+"\n"))
	if err != nil {
		return err
	}
	h.add(a)
	var lines []byte
	for _, e := range h.entries[max(0, len(h.entries)-maxHistory):] {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		lines = append(append(lines, line...), '\n')
	}
	return durable.WriteFile(durable.Disk, filepath.Join(root, historyFile), lines)
}

// Activate makes a version the active one for every server that watches root, and records by and
// reason. The version ranker.PriorVersion goes back to the prior.
//
// It checks only that the bundle exists. A server that cannot serve the bundle refuses it and keeps
// what it serves. Errors wrap ranker.ErrUnknownModel if there is no such bundle.
func Activate(root, version, by, reason string) error {
	if err := checkExists(root, version); err != nil {
		return err
	}
	a := Activation{Time: time.Now().UTC(), Version: version, By: by, Reason: reason}
	return activate(root, a, "")
}

// Active returns the version to serve.
func Active(root string) (string, error) {
	h, err := readHistory(root)
	if err != nil {
		return "", err
	}
	return h.active, nil
}

// checkExists returns an error that wraps ranker.ErrUnknownModel if there is no such bundle.
func checkExists(root, version string) error {
	if version == ranker.PriorVersion {
		return nil
	}
	if !IsVersion(version) {
		return fmt.Errorf("%w: %.60q is not a version", ranker.ErrUnknownModel, version)
	}
	_, err := os.Lstat(filepath.Join(root, version))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s has no bundle %s", ranker.ErrUnknownModel, root, version)
	}
	return err
}
