// Package config reads relish.yaml.
//
// The file has a section for everything that no flag can say: state, rules, text, keys, tables,
// trends, alerts and train. Every other key is the name of a command-line flag and sets its value.
// A value on the command line wins, then the environment (RELISH_<FLAG>), then the file, then the
// default.
//
// Reading is strict. An unknown key, a repeated key and a value of a wrong type are errors, and
// Load reports all problems of a file at once, each with its line.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"relish/features"
	"relish/features/trends"
	"relish/internal/alerts"
	"relish/internal/suggest"
	"relish/ranker"
	"relish/ranker/rules"
	"relish/ranker/scorer"
	"relish/training"
)

// Config is the content of a file over the defaults. It is read-only after Load.
type Config struct {
	State  features.Config       `yaml:"state"`  // what the feature state counts
	Rules  rules.Config          `yaml:"rules"`  // applied to every ranking
	Text   ranker.TextSpec       `yaml:"text"`   // which fields of an item are its text
	Keys   []Key                 `yaml:"keys"`   // API keys; none: the API is open
	Tables []scorer.ColumnWeight `yaml:"tables"` // external columns that the prior weighs
	Trends trends.Config         `yaml:"trends"` // which fields are counted over time
	Alerts []alerts.Config       `yaml:"alerts"` // rules over the trends
	Train  training.Config       `yaml:"train"`  // complete: what the file leaves out is a default
	// Flags are the values of command-line flags, by the name of the flag.
	Flags map[string]yaml.Node `yaml:",inline"`
}

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{State: features.DefaultConfig(), Text: ranker.DefaultTextSpec,
		Train: training.DefaultConfig()}
}

// Load reads the file at path over the defaults. An empty path gives the defaults. flags are the
// names of all command-line flags. The error lists every problem of the file.
func Load(path string, flags []string) (*Config, error) {
	c := Default()
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration file: %w", err)
	}
	if err := c.parse(data, flags); err != nil {
		return nil, fmt.Errorf("the configuration file %s is invalid:\n%w", path, err)
	}
	return c, nil
}

func (c *Config) parse(data []byte, flags []string) error {
	var file yaml.Node
	if err := yaml.Unmarshal(data, &file); err != nil {
		return err
	}
	var checked checker
	if len(file.Content) > 0 { // else the file is empty
		checked.check(file.Content[0], "", reflect.ValueOf(c).Elem())
	}
	errs := checked.errs
	defaultGains := c.Train.Gains
	c.Train.Gains = nil // checkGains checks those of the file only
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		var typeError *yaml.TypeError
		if !errors.As(err, &typeError) {
			return err
		}
		for _, message := range typeError.Errors {
			found := unknownField.MatchString(message) || wrongType.MatchString(message)
			if !found || len(checked.errs) == 0 { // else checked has it in better words
				errs = append(errs, errors.New(plainMessage(message)))
			}
		}
	}
	errs = append(errs, c.checkFlags(flags)...)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	errs = append(errs, c.checkGains())
	c.addGains(defaultGains)
	c.Train = c.Train.Complete()
	errs = append(errs, c.State.Validate(), c.Rules.Validate(), c.validateKeys(),
		c.validateTables(), c.Trends.Validate(), c.validateAlerts(), c.Train.Validate())
	return errors.Join(errs...)
}

// sections are the keys of Config.
var sections = []string{"state", "rules", "text", "keys", "tables", "trends", "alerts",
	"train"}

// checkFlags checks the keys that are not sections. They must be flags with a single value or a
// list.
func (c *Config) checkFlags(flags []string) (errs []error) {
	for name, node := range c.Flags {
		switch {
		case !slices.Contains(flags, name):
			hint := suggest.DidYouMean(name, slices.Concat(sections, flags))
			if hint == "" {
				hint = "; keys are the sections " + strings.Join(sections, ", ") +
					" and the flags that relish COMMAND --help lists"
			}
			errs = append(errs, fmt.Errorf("line %d: unknown key %q%s", node.Line, name, hint))
		case node.Kind != yaml.ScalarNode && node.Kind != yaml.SequenceNode:
			errs = append(errs, fmt.Errorf("line %d: %s is a flag; write a single value or a list",
				node.Line, name))
		}
	}
	return errs
}

// The messages of the YAML decoder that name Go types.
var (
	unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongType    = regexp.MustCompile("cannot unmarshal (?:!!\\S+ )?(`.*?`|!!\\S+) into (\\S+)")
	yamlKinds    = strings.NewReplacer("!!seq", "a list", "!!map", "a section with keys", "!!str",
		"a text", "`", `"`)
)

// plainMessage says in the words of the file what the YAML decoder says in the words of Go.
func plainMessage(message string) string {
	message = unknownField.ReplaceAllString(message, `unknown key "$1"`)
	match := wrongType.FindStringSubmatch(message)
	if match == nil {
		return message
	}
	plain := yamlKinds.Replace(match[1]) + " is not " + kindOf(match[2])
	return strings.Replace(message, match[0], plain, 1)
}

// kindOf says what a value of a Go type is written as.
func kindOf(goType string) string {
	switch {
	case goType == "string":
		return "a text"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a whole number"
	case strings.HasPrefix(goType, "float"):
		return "a number"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	default:
		return "a section with keys"
	}
}

// Resolver gives the values of flags to the command-line parser. A value in the environment wins.
func (c *Config) Resolver() kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		node, ok := c.Flags[flag.Name]
		if !ok {
			return nil, nil
		}
		for _, variable := range flag.Envs {
			if _, set := os.LookupEnv(variable); set {
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
