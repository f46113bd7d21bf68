package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// group is a group of prometheus/rules.yaml.
type group struct {
	Rules []struct{ Record, Alert, Expr string }
}

// dashboard is what is checked of grafana/dashboards/relish.json.
type dashboard struct {
	UID        string
	Templating struct {
		List []struct{ Query struct{ Query string } }
	}
	Panels []struct {
		ID         int
		Type       string
		Title      string
		Datasource struct{ UID string }
		GridPos    struct{ H, W, X, Y int }
		Targets    []struct{ Expr string }
	}
}

// query is one PromQL expression and where it stands.
type query struct{ where, expr string }

func rules(t *testing.T) []group {
	t.Helper()
	return documents[struct{ Groups []group }](t, "prometheus/rules.yaml")[0].Groups
}

func loadDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "grafana/dashboards/relish.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// adapter is what is checked of kubernetes/monitoring/adapter.yaml.
type adapter struct {
	Rules struct {
		Custom []struct {
			SeriesQuery, MetricsQuery string
			Name                      struct{ As string }
		}
	}
}

// queries collects every expression that Prometheus will be asked; recorded are the names that rules add.
func queries(t *testing.T) (all []query, recorded []string) {
	t.Helper()
	for _, g := range rules(t) {
		for _, r := range g.Rules {
			all = append(all, query{"rule " + r.Alert + r.Record, r.Expr})
			if r.Record != "" {
				recorded = append(recorded, r.Record)
			}
		}
	}
	d := loadDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, query{"panel " + p.Title, strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")})
		}
	}
	labelValues := regexp.MustCompile(`^label_values\((.+), *(\w+)\)$`)
	for _, v := range d.Templating.List {
		m := labelValues.FindStringSubmatch(v.Query.Query)
		if m == nil {
			t.Fatalf("variable %q asks for no label's values", v.Query.Query)
		}
		all = append(all, query{"variable", m[1]})
	}
	placeholders := strings.NewReplacer("<<.GroupBy>>", "pod", "{<<.LabelMatchers>>}", `{namespace="relish"}`)
	for _, r := range documents[adapter](t, "kubernetes/monitoring/adapter.yaml")[0].Rules.Custom {
		all = append(all, query{"adapter " + r.Name.As, r.SeriesQuery}, query{"adapter " + r.Name.As, placeholders.Replace(r.MetricsQuery)})
	}
	return all, recorded
}

// exposed scrapes a service that has seen everything that a metric counts: a ranking, an event, a log that is full
// and a Redis that is away.
func exposed(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	s := start(t, nil)
	const ranking = `{"user_id":"u","candidates":[{"id":"a","title":"Sourdough at sea"},"b"],"explain":1,"deadline_ms":5000}`
	if status, answer := s.post(t, "/recommend", ranking); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, answer)
	}
	n := 0
	eventually(t, "a full log refuses events", func() bool {
		n++
		event := fmt.Sprintf(`{"type":"item","id":"e%d","item":"i","text":%q}`, n, strings.Repeat("long ", 1000))
		status, _ := s.post(t, "/feedback", event)
		return status == http.StatusInsufficientStorage
	})
	s.redis.Kill()
	eventually(t, "a ranking without Redis says so", func() bool {
		_, answer := s.post(t, "/recommend", ranking)
		return strings.Contains(answer, "features_")
	})
	_, text := s.get(t, "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// labels returns the values of each label of a metric, by name as PromQL has it.
func labels(families map[string]*dto.MetricFamily, name string) (map[string][]string, bool) {
	family, ok := families[name]
	values := map[string][]string{"instance": nil, "job": nil, "namespace": nil, "pod": nil} // added by the scrape
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, cut := strings.CutSuffix(name, suffix); cut && families[base].GetType() == dto.MetricType_HISTOGRAM {
			family, ok = families[base], true
			if suffix == "_bucket" {
				values["le"] = nil
			}
		}
	}
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			values[l.GetName()] = append(values[l.GetName()], l.GetValue())
		}
	}
	return values, ok
}

// Every name in rules, dashboard and autoscaler is exposed by a running service, with the labels that are asked
// for; so is every value that is compared for equality.
func TestMetricsExist(t *testing.T) {
	families := exposed(t)
	all, recorded := queries(t)
	for _, q := range all {
		expr, err := metricsql.Parse(q.expr)
		if err != nil {
			t.Errorf("%s: %v", q.where, err)
			continue
		}
		metricsql.VisitAll(expr, func(e metricsql.Expr) {
			m, ok := e.(*metricsql.MetricExpr)
			if !ok {
				return
			}
			for _, filters := range m.LabelFilterss {
				if err := known(families, recorded, filters); err != nil {
					t.Errorf("%s: %v", q.where, err)
				}
			}
		})
	}
}

// known says what of a selector a service does not expose.
func known(families map[string]*dto.MetricFamily, recorded []string, filters []metricsql.LabelFilter) error {
	if len(filters) == 0 || filters[0].Label != "__name__" {
		return fmt.Errorf("a selector without a metric's name: %v", filters)
	}
	name := filters[0].Value
	if name == "up" || slices.Contains(recorded, name) {
		return nil
	}
	values, ok := labels(families, name)
	if !ok {
		return fmt.Errorf("no service exposes %s", name)
	}
	for _, f := range filters[1:] {
		have, ok := values[f.Label]
		if !ok {
			return fmt.Errorf("%s has no label %s", name, f.Label)
		}
		if !f.IsRegexp && !f.IsNegative && len(have) > 0 && !slices.Contains(have, f.Value) {
			return fmt.Errorf("%s is never %s=%q, only %v", name, f.Label, f.Value, have)
		}
	}
	return nil
}

// promtool checks the syntax and runs rules_test.yaml, which must have every rule.
func TestRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "rules_test.yaml"}, {"check", "config", "prometheus.yaml"}} {
		cmd := exec.Command("../../.cache/bin/promtool", args...)
		cmd.Dir = "prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s (make test-setup fetches it): %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	tests := read(t, "prometheus/rules_test.yaml")
	for _, g := range rules(t) {
		for _, r := range g.Rules {
			if !strings.Contains(tests, `alertname="`+r.Alert+`"`) && r.Alert != "" || !strings.Contains(tests, r.Record) {
				t.Errorf("rules_test.yaml does not test %s%s", r.Alert, r.Record)
			}
		}
	}
}

// The dashboard reads the provisioned source, and its panels lie beside each other.
func TestDashboard(t *testing.T) {
	type source struct {
		Datasources []struct{ UID, URL string }
	}
	uid := documents[source](t, "grafana/provisioning/datasources/prometheus.yaml")[0].Datasources[0].UID
	seen, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range loadDashboard(t).Panels {
		if seen[p.ID] {
			t.Errorf("panel %q: id %d is another's", p.Title, p.ID)
		}
		seen[p.ID] = true
		if p.Type != "row" && (p.Datasource.UID != uid || len(p.Targets) == 0) {
			t.Errorf("panel %q reads %q, not %q, or asks for nothing", p.Title, p.Datasource.UID, uid)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("panel %q lies over %q or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}
