// Package alerts watches trends: it decides when a rule of relish.yaml is met, keeps the episodes
// in which it is, and tells a webhook of each.
//
// Decide is a pure function of a rule and the counts of the last weeks. A Monitor calls it at each
// tick of the clock. An episode begins when a rule is met, and ends when the rule has not been met
// for as long as its window is. Episodes are kept in the file "alerts.json" of the data folder,
// before anybody is told of them. So a restart begins no episode again.
package alerts

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
)

// Bounds of the section "alerts".
const (
	maxRules  = 64
	maxWindow = 7 * 24 // hours
)

// Config is one entry of the section "alerts" of relish.yaml.
type Config struct {
	Name string `yaml:"name"` // 1 to 64 of a-z, 0-9, - and _
	When string `yaml:"when"` // see Parse
	// MinCount is how many texts, or events of the action, the window needs. With fewer the rule
	// decides nothing. 0: 1 for a count above a number, else 20.
	MinCount int `yaml:"min_count"`
	// Webhook gets an HTTP POST for each episode. Empty: only metrics and GET /alerts tell of it.
	Webhook string `yaml:"webhook"`
	// SecretFile has the secret that signs what the webhook gets, at least 16 bytes. It is required
	// with Webhook.
	SecretFile string `yaml:"secret_file"`
}

// Rule is a parsed Config. It is immutable.
type Rule struct {
	Config
	Condition
}

// Condition says when a rule is met: when the share or the count of a value in the last Hours hours
// is above a limit.
type Condition struct {
	Share  bool    // else the count
	Field  string  // name of an item field
	Value  string  // of that field
	Source string  // trends.SourceItems or an action
	Usual  bool    // Limit is a multiple of what is usual
	Limit  float64 // at least 1 if Usual is set; 0 to 1 for a share
	Hours  int     // 1 to 168
}

// defaultMinCount returns Config.MinCount if it is not set. A count above a number needs no other
// events.
func (c *Condition) defaultMinCount() int {
	if !c.Share && !c.Usual {
		return 1
	}
	return 20
}

var ruleName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// Rules parses the section "alerts". The error has all problems, each with the rule, the position
// and what is allowed.
func Rules(section []Config) ([]Rule, error) {
	var rules []Rule
	var errs []error
	if len(section) > maxRules {
		errs = append(errs, fmt.Errorf("alerts: has %d rules; keep at most %d", len(section),
			maxRules))
	}
	known := map[string]bool{}
	for i, cfg := range section {
		bad := func(format string, args ...any) {
			place := fmt.Sprintf("alerts[%d]", i)
			if cfg.Name != "" {
				place += fmt.Sprintf(" (%.80s)", cfg.Name)
			}
			errs = append(errs, fmt.Errorf("%s: %w", place, fmt.Errorf(format, args...)))
		}
		if !ruleName.MatchString(cfg.Name) {
			bad("name %.80q must have 1 to 64 of a-z, 0-9, - and _", cfg.Name)
		}
		if known[cfg.Name] {
			bad("another rule has this name: give each rule a name of its own")
		}
		known[cfg.Name] = true
		if cfg.MinCount < 0 {
			bad("min_count is %d and must be at least 1; leave it out for the default",
				cfg.MinCount)
		}
		if err := checkWebhook(cfg); err != nil {
			bad("%w", err)
		}
		condition, err := Parse(cfg.When)
		if err != nil {
			bad("when: %w", err)
		}
		if cfg.MinCount == 0 {
			cfg.MinCount = condition.defaultMinCount()
		}
		rules = append(rules, Rule{cfg, condition})
	}
	return rules, errors.Join(errs...)
}

func checkWebhook(cfg Config) error {
	if cfg.Webhook == "" {
		if cfg.SecretFile != "" {
			return errors.New("secret_file has no use without webhook: remove it")
		}
		return nil
	}
	u, err := url.Parse(cfg.Webhook)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("webhook must be a URL such as https://alerts.example/relish")
	}
	if cfg.SecretFile == "" {
		return errors.New("webhook needs secret_file: a file with the secret that signs what the " +
			"webhook gets, which openssl rand -hex 32 makes")
	}
	return nil
}
