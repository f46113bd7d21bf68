package deploy

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// compose has the parts of compose.yaml that the tests check.
type compose struct {
	Services map[string]struct {
		Image       string
		Environment map[string]string
		Ports       []string
		Volumes     []string
		Networks    []string
		DependsOn   []string `json:"depends_on"`
	}
	Networks, Volumes map[string]any
}

// loadCompose reads compose.yaml.
func loadCompose(t *testing.T) compose {
	t.Helper()
	return documents[compose](t, "compose.yaml")[0]
}

// replicas returns the names of the services that run relish.
func (c compose) replicas() []string {
	var out []string
	for name, s := range c.Services {
		if strings.HasPrefix(s.Image, "relish:") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// instruction returns the arguments of the last instruction of this name in the Dockerfile.
func instruction(t *testing.T, name string) string {
	t.Helper()
	pattern := regexp.MustCompile(`(?m)^` + name + ` ((?:.*\\\n)*.+)`)
	all := pattern.FindAllStringSubmatch(read(t, "../Dockerfile"), -1)
	if all == nil {
		t.Fatalf("the Dockerfile has no %s", name)
	}
	return strings.ReplaceAll(all[len(all)-1][1], "\\\n", " ")
}

// flags returns the environment variables that a command of the binary reads, or nil if the binary
// has no such command. There is one for each flag of the command's help.
func flags(command string) []string {
	out, err := exec.Command(binary, command, "--help").Output()
	if err != nil {
		return nil
	}
	var names []string
	flag := regexp.MustCompile(`(?m)^ .*?--([a-z-]+)`)
	for _, m := range flag.FindAllStringSubmatch(string(out), -1) {
		names = append(names, variable(m[1]))
	}
	return names
}

// variable returns the name of the environment variable that sets a flag.
func variable(flag string) string {
	return "RELISH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// checkFlags fails if the command does not read one of the RELISH_ variables in used.
func checkFlags(t *testing.T, where, command string, used []string) {
	t.Helper()
	known := flags(command)
	for _, name := range used {
		if strings.HasPrefix(name, "RELISH_") && !slices.Contains(known, name) {
			t.Errorf("%s: relish %s does not read %s", where, command, name)
		}
	}
}

// relish serve reads every variable of a replica's environment, starts with the values, and ranks.
func TestComposeEnvironment(t *testing.T) {
	c := loadCompose(t)
	image := map[string]string{}
	assignment := regexp.MustCompile(`(\w+)=(\S+)`)
	for _, m := range assignment.FindAllStringSubmatch(instruction(t, "ENV"), -1) {
		image[m[1]] = m[2]
	}
	delete(image, "LD_LIBRARY_PATH") // its folders exist in the image only
	environment := maps.Clone(image)
	for _, name := range c.replicas() {
		checkFlags(t, name, "serve", slices.Collect(maps.Keys(c.Services[name].Environment)))
		maps.Copy(environment, c.Services[name].Environment)
	}
	checkFlags(t, "Dockerfile", "serve", slices.Collect(maps.Keys(image)))
	cuda := documents[compose](t, "compose.cuda.yaml")[0]
	for name, s := range cuda.Services {
		used := slices.Collect(maps.Keys(s.Environment))
		checkFlags(t, "compose.cuda.yaml: "+name, "serve", used)
		if !slices.Contains(c.replicas(), name) {
			t.Errorf("compose.cuda.yaml changes %s, which compose.yaml lacks", name)
		}
	}
	s := start(t, environment)
	status, answer := s.post(t, "/recommend", `{"user_id":"u","candidates":["a"]}`)
	if status != 200 {
		t.Errorf("status %d: %s", status, answer)
	}

	// The image's health check, run against this server.
	_, raw, _ := strings.Cut(instruction(t, "HEALTHCHECK"), "CMD ")
	var check []string
	if err := json.Unmarshal([]byte(raw), &check); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(environment["RELISH_ADDR"], ":")
	own := "http://127.0.0.1:" + port
	if !slices.Contains(check, own) || check[0] != "relish" {
		t.Fatalf("the health check %q does not ask %s", check, own)
	}
	check[slices.Index(check, own)] = s.url
	if out, err := exec.Command(binary, check[1:]...).CombinedOutput(); err != nil {
		t.Errorf("the health check fails for a healthy service: %v: %s", err, out)
	}
}

// Every name by which one file refers to something is declared by another file.
func TestComposeNames(t *testing.T) {
	c := loadCompose(t)
	port := instruction(t, "EXPOSE")
	var addresses []string
	for _, name := range c.replicas() {
		addresses = append(addresses, name+":"+port)
	}
	if len(addresses) < 2 {
		t.Fatalf("replicas: %v", addresses)
	}
	var balanced []string
	backend := regexp.MustCompile(`(?m)^ +server (\S+) (\S+)$`)
	for _, m := range backend.FindAllStringSubmatch(read(t, "haproxy/haproxy.cfg"), -1) {
		balanced = append(balanced, m[2])
	}
	type scrape struct {
		Configs []struct {
			Static []struct{ Targets []string } `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	prometheus := documents[scrape](t, "prometheus/prometheus.yaml")[0]
	scraped := prometheus.Configs[0].Static[0].Targets
	if !slices.Equal(balanced, addresses) || !slices.Equal(scraped, addresses) {
		t.Errorf("replicas are %v, balanced %v, scraped %v", addresses, balanced, scraped)
	}
	data := map[string]string{}
	for name, s := range c.Services {
		image, tag, _ := strings.Cut(s.Image, ":")
		if image != "relish" && (tag == "" || tag == "latest") {
			t.Errorf("%s: image %q has no version", name, s.Image)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to other machines", name, p)
			}
		}
		for _, n := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s: network %s is not declared", name, n)
			}
		}
		for _, d := range s.DependsOn {
			if _, ok := c.Services[d]; !ok {
				t.Errorf("%s: depends on %s, which is not declared", name, d)
			}
		}
		for _, v := range s.Volumes {
			source, target, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, ".") {
				if _, err := os.Stat(filepath.FromSlash(source)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if _, ok := c.Volumes[source]; !ok {
				t.Errorf("%s: volume %s is not declared", name, source)
			}
			if other, taken := data[source]; taken {
				t.Errorf("%s and %s share the volume %s (%s); each service needs its own",
					name, other, source, target)
			}
			data[source] = name
		}
	}
	replica, grafana := c.Services["relish-1"], c.Services["grafana"]
	const provisioning, dashboards = "grafana/provisioning/", "/var/lib/grafana/dashboards"
	for _, use := range []struct{ text, want string }{
		{replica.Environment["RELISH_REDIS"], "redis://redis:6379"},
		{read(t, provisioning+"datasources/prometheus.yaml"), "url: http://prometheus:9090"},
		{read(t, provisioning+"dashboards/relish.yaml"), "path: " + dashboards + "}"},
		{strings.Join(grafana.Volumes, " "), "./grafana/dashboards:" + dashboards},
		{instruction(t, "ENV"), "RELISH_DATA=/data"},
		{strings.Join(replica.Volumes, " "), ":/data"},
	} {
		if !strings.Contains(use.text, use.want) {
			t.Errorf("%q is not in %q", use.want, use.text)
		}
	}
}
