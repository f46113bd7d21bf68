package experiment

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"

	"relish/ranker/rules"
)

// fileConfig is the form of experiments.yaml.
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
	Blend      map[string]float64 `yaml:"scorer"`
	Text       *bool              `yaml:"text"`
	Rules      rules.Config       `yaml:"rules"`
	DeadlineMS *int               `yaml:"deadline_ms"`
}

// Load reads the file at path. See Parse.
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
		return nil, fmt.Errorf("experiments %s: larger than 1 MiB", path)
	}
	set, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("experiments %s:\n%w", path, err)
	}
	return set, nil
}

// Parse reads a file's text. Reading is strict, and the error lists every problem with its line and key.
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
		problems = append(problems, problem{1, "more than one document; the file is one"})
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

// parseYAMLError turns the YAML library's message into a problem, without the names of Go's types.
func parseYAMLError(message string) problem {
	p := problem{1, message}
	if m := yamlErrorLine.FindStringSubmatch(message); m != nil {
		p.line, _ = strconv.Atoi(m[1])
		p.text = yamlUnknownField.ReplaceAllString(m[2], `unknown key "$1"`)
	}
	return p
}
