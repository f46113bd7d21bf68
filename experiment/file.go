package experiment

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"relish/ranker/rules"
)

// fileConfig is the form of an experiments file.
type fileConfig struct {
	Holdout *holdoutConfig `yaml:"holdout"`
	Layers  []layerConfig  `yaml:"layers"`
}

type holdoutConfig struct {
	Share float64 `yaml:"share"`
	Seed  string  `yaml:"seed"`
}

type layerConfig struct {
	Name        string             `yaml:"name"`
	Experiments []experimentConfig `yaml:"experiments"`
}

type experimentConfig struct {
	Name          string         `yaml:"name"`
	Description   string         `yaml:"description"`
	Mode          string         `yaml:"mode"`
	HashAttribute string         `yaml:"hash_attribute"`
	Seed          string         `yaml:"seed"`
	Coverage      *float64       `yaml:"coverage"`
	Namespace     []any          `yaml:"namespace"`
	Start         string         `yaml:"start"`
	End           string         `yaml:"end"`
	Condition     yaml.Node      `yaml:"condition"`
	Force         map[string]any `yaml:"force"`
	Arms          []armConfig    `yaml:"arms"`
	Metric        string         `yaml:"metric"`
	Guardrails    []Guardrail    `yaml:"guardrails"`
	AutoStop      string         `yaml:"auto_stop"`
}

type armConfig struct {
	Name       string             `yaml:"name"`
	Weight     *float64           `yaml:"weight"`
	Bundle     string             `yaml:"bundle"`
	Scorer     map[string]float64 `yaml:"scorer"`
	Text       *bool              `yaml:"text"`
	Rules      rules.Config       `yaml:"rules"`
	DeadlineMS *int               `yaml:"deadline_ms"`
}

// Load reads and parses the file at path, see Parse. The file has at most 1 MiB.
func Load(path string) (*Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("experiments: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("experiments: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("experiments %s: the file is larger than 1 MiB; "+
			"remove experiments that have ended", path)
	}
	set, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("experiments %s:\n%w", path, err)
	}
	return set, nil
}

// Parse reads an experiments file. It is strict: unknown keys, wrong types and contradictions are
// errors. The error lists every problem with its line and key.
func Parse(data []byte) (*Set, error) {
	var problems []problem
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	root := location{node: &yaml.Node{Kind: yaml.MappingNode, Line: 1}, problems: &problems}
	if doc.Kind == yaml.DocumentNode {
		root.node = doc.Content[0]
	}
	var f fileConfig
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		var te *yaml.TypeError
		if !errors.As(err, &te) {
			return nil, err
		}
		for _, e := range te.Errors {
			problems = append(problems, parseYAMLError(e))
		}
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		const text = "the file has more than one YAML document; write a single one"
		problems = append(problems, problem{1, text})
	}
	sum := sha256.Sum256(data)
	set := build(&f, root, hex.EncodeToString(sum[:])[:12])
	set.checkOverlaps(root)
	if err := joinProblems(problems); err != nil {
		return nil, err
	}
	return set, nil
}

var (
	yamlErrorLine    = regexp.MustCompile(`^line (\d+): (?s:(.*))$`)
	yamlUnknownField = regexp.MustCompile(`^field (.*) not found in type .*$`)
)

// parseYAMLError turns a message of the YAML library into a problem, without the names of Go types.
func parseYAMLError(message string) problem {
	p := problem{1, message}
	if m := yamlErrorLine.FindStringSubmatch(message); m != nil {
		p.line, _ = strconv.Atoi(m[1])
		p.text = yamlUnknownField.ReplaceAllString(m[2], `unknown key "$1"`)
	}
	return p
}

// location is a place in the file at which a problem can be reported: a node, the path to it, and
// the list that collects problems. A key that the file lacks has the line of its nearest parent.
type location struct {
	node     *yaml.Node
	path     string
	problems *[]problem
}

type problem struct {
	line int
	text string
}

// errorf reports a problem here.
func (l location) errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if l.path != "" {
		text = l.path + ": " + text
	}
	*l.problems = append(*l.problems, problem{l.node.Line, text})
}

// errorAt reports a problem at a mapping's member.
func (l location) errorAt(key, format string, args ...any) {
	l.key(key).errorf(format, args...)
}

// key returns the location of a mapping's member.
func (l location) key(name string) location {
	to := l
	if to.path != "" {
		to.path += "."
	}
	to.path += name
	if n := findMember(l.node, name); n != nil {
		to.node = n
	}
	return to
}

// forcedUser returns the location of a forced user. Problems are logged and shown to others, so the
// path does not contain the user's id.
func (l location) forcedUser(id string) location {
	to := l.key(id)
	to.path = l.path
	return to
}

// index returns the location of a list's element.
func (l location) index(i int) location {
	to := l
	to.path = fmt.Sprintf("%s[%d]", l.path, i)
	if n := resolveAlias(l.node); n.Kind == yaml.SequenceNode && i < len(n.Content) {
		to.node = n.Content[i]
	}
	return to
}

// has reports whether the mapping here has the member, even if it is null.
func (l location) has(name string) bool { return findMember(l.node, name) != nil }

// resolveAlias returns the node that an alias refers to.
func resolveAlias(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// findMember finds a mapping's member, also in a merged mapping (<<). It returns nil if there is
// none.
func findMember(n *yaml.Node, name string) *yaml.Node {
	n = resolveAlias(n)
	if n.Kind != yaml.MappingNode {
		return nil
	}
	var merged *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key := n.Content[i]; {
		case key.Value == name:
			return n.Content[i+1]
		case key.ShortTag() == "!!merge":
			merged = findMember(n.Content[i+1], name)
		}
	}
	return merged
}

// joinProblems returns one error with a line for each problem, ordered by line, or nil without
// problems.
func joinProblems(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = fmt.Sprintf("line %d: %s", p.line, p.text)
	}
	return fmt.Errorf("%s", strings.Join(slices.Compact(lines), "\n"))
}
