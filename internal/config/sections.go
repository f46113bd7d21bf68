package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"relish/features/event"
	"relish/features/trends"
	"relish/internal/alerts"
	"relish/internal/suggest"
)

// Scopes are what an API key may be allowed to do.
var Scopes = []string{"rank", "feedback", "items", "admin"}

// Key is an API key. The file contains its SHA-256, so that a leaked file leaks no key.
type Key struct {
	Name   string   `yaml:"name"`   // for logs and metrics
	SHA256 string   `yaml:"sha256"` // 64 hex digits
	Scopes []string `yaml:"scopes"` // of Scopes, at least one
}

func (c *Config) validateKeys() error {
	var errs []error
	for i, key := range c.Keys {
		if digest, err := hex.DecodeString(key.SHA256); err != nil || len(digest) != 32 {
			errs = append(errs, fmt.Errorf("keys[%d]: sha256 %.80q is not 64 hex digits; "+
				"printf %%s KEY | sha256sum prints them", i, key.SHA256))
		}
		if len(key.Scopes) == 0 {
			errs = append(errs, fmt.Errorf("keys[%d]: scopes is empty; choose from %s", i,
				strings.Join(Scopes, ", ")))
		}
		for _, scope := range key.Scopes {
			if !slices.Contains(Scopes, scope) {
				errs = append(errs, fmt.Errorf("keys[%d]: unknown scope %q; choose from %s", i,
					scope,
					strings.Join(Scopes, ", ")))
			}
		}
	}
	return errors.Join(errs...)
}

// validateAlerts checks the rules, and that their actions and fields are counted.
func (c *Config) validateAlerts() error {
	rules, err := alerts.Rules(c.Alerts)
	errs := []error{err}
	fields := map[string]bool{}
	for _, name := range c.Trends.Fields {
		fields[name] = true
	}
	for i, r := range rules {
		fields[r.Field] = true
		known := append([]string{trends.SourceItems}, c.State.Actions...)
		if r.Source != "" && !slices.Contains(known, r.Source) {
			errs = append(errs, fmt.Errorf("alerts[%d] (%s): when: %q is not counted: name one of "+
				"%s, or add it to state.actions", i, r.Name, r.Source, strings.Join(known, ", ")))
		}
	}
	if len(c.Trends.Fields) <= trends.MaxFields && len(fields) > trends.MaxFields {
		errs = append(errs, fmt.Errorf("alerts: with trends.fields, %d fields are to be counted; "+
			"keep at most %d in both together", len(fields), trends.MaxFields))
	}
	return errors.Join(errs...)
}

// checkGains refuses gains of actions that are not counted: they would never have an effect. It is
// called before addGains, whose defaults name actions that state.actions may lack.
func (c *Config) checkGains() error {
	var errs []error
	for _, action := range slices.Sorted(maps.Keys(c.Train.Gains)) {
		if slices.Contains(c.State.Actions, action) {
			continue
		}
		hint := suggest.DidYouMean(action, c.State.Actions)
		if hint == "" {
			hint = ": name one of " + strings.Join(c.State.Actions, ", ") +
				", or add it to state.actions"
		}
		errs = append(errs, fmt.Errorf("train.gains.%.40q: nothing counts this action%s", action,
			hint))
	}
	return errors.Join(errs...)
}

// addGains adds the default gains of counted actions to those of the file.
func (c *Config) addGains(defaults map[string]float64) {
	gains := maps.Clone(defaults)
	maps.DeleteFunc(gains, func(action string, _ float64) bool {
		return !slices.Contains(c.State.Actions, action)
	})
	maps.Copy(gains, c.Train.Gains)
	c.Train.Gains = gains
}

// maxTables bounds the external columns that the prior weighs.
const maxTables = 256

func (c *Config) validateTables() error {
	var errs []error
	if len(c.Tables) > maxTables {
		errs = append(errs, fmt.Errorf("tables has %d entries, at most %d are allowed",
			len(c.Tables), maxTables))
	}
	seen := map[string]bool{}
	for i, t := range c.Tables {
		table, column, _ := strings.Cut(t.Column, ".")
		switch {
		case event.CheckTableName(table) != nil || column == "":
			errs = append(errs, fmt.Errorf("tables[%d]: column %q is not TABLE.COLUMN; TABLE is "+
				"the --name of the import",
				i, t.Column))
		case seen[t.Column]:
			errs = append(errs, fmt.Errorf("tables[%d]: column %q is listed twice; remove one",
				i, t.Column))
		case math.IsNaN(t.Weight) || math.IsInf(t.Weight, 0):
			errs = append(errs, fmt.Errorf("tables[%d]: weight %v is not a finite number", i,
				t.Weight))
		}
		seen[t.Column] = true
	}
	return errors.Join(errs...)
}
