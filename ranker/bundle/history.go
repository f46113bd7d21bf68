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

	"relish/ranker"
)

// The files that say what is active.
const (
	activeFile  = "active"
	historyFile = "activations"
)

// maxHistory is how many activations are remembered.
const maxHistory = 1000

// Activation is one line of the history.
type Activation struct {
	Time     time.Time `json:"time"`
	Version  string    `json:"version"`
	By       string    `json:"by"`
	Reason   string    `json:"why"`
	Rollback bool      `json:"rollback"` // back to what was active before
}

// history is what is active and what was.
type history struct {
	active  string // ranker.PriorVersion when nothing else is
	entries []Activation
	stack   []string // the prior, then every activation that was not rolled back; the last is the active one
}

// readHistory reads what is active in root. Lines of the history that cannot be read are left out: they must not keep a
// bundle from being served. A file active that names no version is an error, beside the history.
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
		return h, fmt.Errorf("%s names %.60q, which is no version: activate one that GET /models lists", filepath.Join(root, activeFile), h.active)
	}
	if h.stack[len(h.stack)-1] != h.active { // another hand has set it, or a process died before it wrote the line
		h.add(Activation{Time: time.Now().UTC(), Version: h.active, By: "unknown", Reason: "found active"})
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

// lastIndex returns the version's last place in the stack, -1 without one.
func (h *history) lastIndex(version string) int {
	for i := len(h.stack) - 1; i >= 0; i-- {
		if h.stack[i] == version {
			return i
		}
	}
	return -1
}

// previousOf returns what was active before the version was, "" when nothing was; of one that never was active, the
// active one.
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

// activate makes a version the active one, unless it is. A rollback goes from what must still be active.
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
		return fmt.Errorf("%s became active meanwhile: look again", h.active)
	}
	if h.active == a.Version {
		return nil
	}
	if err := replaceFile(root, activeFile, []byte(a.Version+"\n")); err != nil {
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
	return replaceFile(root, historyFile, lines)
}

// Activate makes a version the active one for every server that watches root, and writes down by whom and why. It checks
// no more than that the version is there: servers refuse what they cannot serve, and go on with what they have.
// ranker.PriorVersion goes back to the prior.
func Activate(root, version, by, why string) error {
	if err := checkExists(root, version); err != nil {
		return err
	}
	return activate(root, Activation{Time: time.Now().UTC(), Version: version, By: by, Reason: why}, "")
}

// Active returns the version that is to be served.
func Active(root string) (string, error) {
	h, err := readHistory(root)
	if err != nil {
		return "", err
	}
	return h.active, nil
}

// checkExists reports whether there is such a bundle, as ranker.ErrUnknownModel.
func checkExists(root, version string) error {
	if version == ranker.PriorVersion {
		return nil
	}
	if !IsVersion(version) {
		return fmt.Errorf("%w: %.60q is no version", ranker.ErrUnknownModel, version)
	}
	_, err := os.Lstat(filepath.Join(root, version))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s has no bundle %s", ranker.ErrUnknownModel, root, version)
	}
	return err
}
