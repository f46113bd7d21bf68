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

// compose is what is checked of compose.yaml.
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

func loadCompose(t *testing.T) compose {
	t.Helper()
	return documents[compose](t, "compose.yaml")[0]
}

// replicas are the services that run relish.
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

// instruction returns what stands behind a Dockerfile's instruction, its last one.
func instruction(t *testing.T, name string) string {
	t.Helper()
	all := regexp.MustCompile(`(?m)^`+name+` ((?:.*\\\n)*.+)`).FindAllStringSubmatch(read(t, "../Dockerfile"), -1)
	if all == nil {
		t.Fatalf("the Dockerfile has no %s", name)
	}
	return strings.ReplaceAll(all[len(all)-1][1], "\\\n", " ")
}

// flags returns the environment variables that a command of the real binary knows, nil if it has no such command.
func flags(command string) []string {
	out, err := exec.Command(binary, command, "--help").Output()
	if err != nil {
		return nil
	}
	return regexp.MustCompile(`RELISH_[A-Z_]+`).FindAllString(string(out), -1)
}

func checkFlags(t *testing.T, where, command string, used []string) {
	t.Helper()
	known := flags(command)
	for _, name := range used {
		if strings.HasPrefix(name, "RELISH_") && !slices.Contains(known, name) {
			t.Errorf("%s: relish %s knows no %s", where, command, name)
		}
	}
}

// A replica's environment is one that relish takes: the names exist, and with the values it starts and ranks.
func TestComposeEnvironment(t *testing.T) {
	c := loadCompose(t)
	image := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+)=(\S+)`).FindAllStringSubmatch(instruction(t, "ENV"), -1) {
		image[m[1]] = m[2]
	}
	delete(image, "LD_LIBRARY_PATH") // its folders are the image's
	environment := maps.Clone(image)
	for _, name := range c.replicas() {
		checkFlags(t, name, "serve", slices.Collect(maps.Keys(c.Services[name].Environment)))
		maps.Copy(environment, c.Services[name].Environment)
	}
	checkFlags(t, "Dockerfile", "serve", slices.Collect(maps.Keys(image)))
	cuda := documents[compose](t, "compose.cuda.yaml")[0]
	for name, s := range cuda.Services {
		checkFlags(t, "compose.cuda.yaml: "+name, "serve", slices.Collect(maps.Keys(s.Environment)))
		if !slices.Contains(c.replicas(), name) {
			t.Errorf("compose.cuda.yaml changes %s, which compose.yaml lacks", name)
		}
	}
	s := start(t, environment)
	if status, answer := s.post(t, "/recommend", `{"user_id":"u","candidates":["a"]}`); status != 200 {
		t.Errorf("status %d: %s", status, answer)
	}

	// The image's own health check, against this server and against none.
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
		t.Errorf("the health check fails on a healthy service: %v: %s", err, out)
	}
}

// What one part calls another by is what that one is called.
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
	for _, m := range regexp.MustCompile(`(?m)^ +server (\S+) (\S+)$`).FindAllStringSubmatch(read(t, "haproxy/haproxy.cfg"), -1) {
		balanced = append(balanced, m[2])
	}
	type scrape struct {
		Configs []struct {
			Static []struct{ Targets []string } `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	scraped := documents[scrape](t, "prometheus/prometheus.yaml")[0].Configs[0].Static[0].Targets
	if !slices.Equal(balanced, addresses) || !slices.Equal(scraped, addresses) {
		t.Errorf("replicas are %v, balanced %v, scraped %v", addresses, balanced, scraped)
	}
	data := map[string]string{}
	for name, s := range c.Services {
		if image, tag, _ := strings.Cut(s.Image, ":"); image != "relish" && (tag == "" || tag == "latest") {
			t.Errorf("%s: image %q names no version", name, s.Image)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to other machines", name, p)
			}
		}
		for _, n := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s: no network %s", name, n)
			}
		}
		for _, d := range s.DependsOn {
			if _, ok := c.Services[d]; !ok {
				t.Errorf("%s: depends on %s, which is not there", name, d)
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
				t.Errorf("%s: no volume %s", name, source)
			}
			if other, taken := data[source]; taken {
				t.Errorf("%s and %s share the folder %s (%s); each replica has its own", name, other, source, target)
			}
			data[source] = name
		}
	}
	for what, want := range map[string]string{
		c.Services["relish-1"].Environment["RELISH_REDIS"]:          "redis://redis:6379",
		read(t, "grafana/provisioning/datasources/prometheus.yaml"): "url: http://prometheus:9090",
		read(t, "grafana/provisioning/dashboards/relish.yaml"):      "path: /var/lib/grafana/dashboards}",
		strings.Join(c.Services["grafana"].Volumes, " "):            "./grafana/dashboards:/var/lib/grafana/dashboards",
		instruction(t, "ENV"): "RELISH_DATA=/data",
		strings.Join(c.Services["relish-1"].Volumes, " ") + "; of the image": ":/data",
	} {
		if !strings.Contains(what, want) {
			t.Errorf("%q is not in %q", want, what)
		}
	}
}
