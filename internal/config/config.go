// Package config reads relish.yaml.
//
// The file has sections for what no flag can say (state, rules, text, keys, tables, train); every other key is the
// name of a command-line flag and stands in for it. Precedence: command line, environment
// (RELISH_...), file, default. Reading is strict: an unknown key, a repeated key or a wrong type is
// an error, and all problems of the file are reported at once, each with its line.
package config

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"relish/features"
	"relish/features/event"
	"relish/ranker"
	"relish/ranker/rules"
	"relish/ranker/scorer"
	"relish/training"
)

// Scopes are what a key may be allowed to do.
var Scopes = []string{"rank", "feedback", "items", "admin"}

// Key is one API key. The file holds its SHA-256, so that a leaked file leaks no key.
type Key struct {
	Name   string   `yaml:"name"`
	SHA256 string   `yaml:"sha256"` // 64 hex digits
	Scopes []string `yaml:"scopes"`
}

// Config is a read file. It is read-only after Load.
type Config struct {
	State features.Config `yaml:"state"`
	Rules rules.Config    `yaml:"rules"`
	Text  ranker.TextSpec `yaml:"text"`
	Keys  []Key           `yaml:"keys"`
	// Tables are the imported columns that the prior reads.
	Tables []scorer.ColumnWeight `yaml:"tables"`
	Train  training.Config       `yaml:"train"` // complete
	Flags  map[string]yaml.Node  `yaml:",inline"`
}

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{State: features.DefaultConfig(), Text: ranker.DefaultTextSpec, Train: training.DefaultConfig()}
}

// Load reads the file at path over the defaults. flags are the names of all command-line flags.
// An empty path gives the defaults. The error lists every problem.
func Load(path string, flags []string) (*Config, error) {
	c := Default()
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := c.parse(data, flags); err != nil {
		return nil, fmt.Errorf("config %s:\n%w", path, err)
	}
	return c, nil
}

func (c *Config) parse(data []byte, flags []string) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var errs []error
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		var te *yaml.TypeError
		if !errors.As(err, &te) {
			return err
		}
		for _, e := range te.Errors {
			errs = append(errs, errors.New(e))
		}
	}
	for name, node := range c.Flags {
		switch {
		case !slices.Contains(flags, name):
			errs = append(errs, fmt.Errorf("line %d: unknown key %q; sections are state, rules, text, keys, tables, train, other keys are flags (see relish --help)", node.Line, name))
		case node.Kind != yaml.ScalarNode && node.Kind != yaml.SequenceNode:
			errs = append(errs, fmt.Errorf("line %d: %s is a flag and takes a single value", node.Line, name))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	c.Train = c.Train.Complete()
	return errors.Join(append(errs, c.State.Validate(), c.Rules.Validate(), c.validateKeys(), c.validateTables(), c.Train.Validate())...)
}

func (c *Config) validateKeys() error {
	var errs []error
	for i, k := range c.Keys {
		if raw, err := hex.DecodeString(k.SHA256); err != nil || len(raw) != 32 {
			errs = append(errs, fmt.Errorf("keys[%d]: sha256 must be the 64 hex digits that `printf %%s KEY | sha256sum` prints", i))
		}
		if len(k.Scopes) == 0 {
			errs = append(errs, fmt.Errorf("keys[%d]: scopes is empty; choose from %v", i, Scopes))
		}
		for _, s := range k.Scopes {
			if !slices.Contains(Scopes, s) {
				errs = append(errs, fmt.Errorf("keys[%d]: scope %q is unknown; choose from %v", i, s, Scopes))
			}
		}
	}
	return errors.Join(errs...)
}

// maxTables bounds the imported columns that the prior reads.
const maxTables = 256

func (c *Config) validateTables() error {
	var errs []error
	if len(c.Tables) > maxTables {
		errs = append(errs, fmt.Errorf("tables has %d entries; at most %d are possible", len(c.Tables), maxTables))
	}
	seen := map[string]bool{}
	for i, t := range c.Tables {
		table, column, _ := strings.Cut(t.Column, ".")
		switch {
		case event.CheckTableName(table) != nil || column == "":
			errs = append(errs, fmt.Errorf("tables[%d]: column %q is not TABLE.COLUMN; TABLE is the --name of the import", i, t.Column))
		case seen[t.Column]:
			errs = append(errs, fmt.Errorf("tables[%d]: column %q stands twice", i, t.Column))
		case math.IsNaN(t.Weight) || math.IsInf(t.Weight, 0):
			errs = append(errs, fmt.Errorf("tables[%d]: weight must be finite", i))
		}
		seen[t.Column] = true
	}
	return errors.Join(errs...)
}

// Resolver hands the file's flag values to the command line parser, below the environment.
func (c *Config) Resolver() kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		node, ok := c.Flags[flag.Name]
		if !ok {
			return nil, nil
		}
		for _, env := range flag.Envs {
			if _, set := os.LookupEnv(env); set {
				return nil, nil
			}
		}
		if node.Kind == yaml.SequenceNode {
			var list []string
			err := node.Decode(&list)
			return strings.Join(list, ","), err
		}
		return node.Value, nil
	})
}
