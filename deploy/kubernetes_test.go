package deploy

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// selector has the form of matchLabels. It selects objects that have all of its labels.
type selector map[string]string

func (s selector) selects(labels map[string]string) bool {
	for k, v := range s {
		if labels[k] != v {
			return false
		}
	}
	return len(s) > 0
}

// probe is a probe of a container.
type probe struct {
	HTTPGet struct{ Path, Port string }
}

// pod has the parts of a pod template that the tests check.
type pod struct {
	Metadata struct{ Labels, Annotations map[string]string }
	Spec     struct {
		SecurityContext struct {
			RunAsUser    int
			RunAsNonRoot bool
		}
		Containers []struct {
			Image         string
			Args, Command []string
			Env           []struct{ Name, Value string }
			Ports         []struct {
				Name          string
				ContainerPort int
			}
			StartupProbe, LivenessProbe, ReadinessProbe probe
			VolumeMounts                                []struct{ Name, MountPath string }
		}
		Volumes []struct {
			Name                  string
			PersistentVolumeClaim struct{ ClaimName string }
			Secret                struct{ SecretName string }
		}
	}
}

// manifest has the parts of an object, of any kind, that the tests check.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		ServiceName string
		Replicas    *int
		Selector    map[string]any // a Service has labels here, other kinds have matchLabels
		PodSelector struct{ MatchLabels selector }
		Template    pod
		JobTemplate struct{ Spec struct{ Template pod } }
		Ports       []struct {
			Name       string
			TargetPort any
		}
		ScaleTargetRef struct{ Kind, Name string }
		Metrics        []struct {
			Pods struct{ Metric struct{ Name string } }
		}
		PodMetricsEndpoints []struct{ Port, Path string }
	}
}

// objects reads all manifests, by KIND/NAME. It fails if a kustomization does not list one.
func objects(t *testing.T) map[string]manifest {
	t.Helper()
	all := map[string]manifest{}
	for _, dir := range []string{"kubernetes", "kubernetes/monitoring"} {
		type kustomization struct{ Resources []string }
		named := documents[kustomization](t, dir+"/kustomization.yaml")[0].Resources
		files, err := filepath.Glob(dir + "/*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			switch name := filepath.Base(path); {
			case name == "kustomization.yaml" || name == "adapter.yaml": // not manifests
			case !slices.Contains(named, name):
				t.Errorf("%s is not listed in its kustomization", path)
			default:
				for _, m := range documents[manifest](t, path) {
					all[m.Kind+"/"+m.Metadata.Name] = m
				}
			}
		}
	}
	return all
}

// labels returns an object's selector, whatever its form.
func (m manifest) labels() selector {
	out := maps.Clone(m.Spec.PodSelector.MatchLabels)
	if out == nil {
		out = selector{}
	}
	from := m.Spec.Selector
	if inner, ok := from["matchLabels"].(map[string]any); ok {
		from = inner
	}
	for k, v := range from {
		out[k], _ = v.(string)
	}
	return out
}

// Every selector, reference and port points at something that exists.
func TestKubernetesNames(t *testing.T) {
	all := objects(t)
	set, training := all["StatefulSet/relish"], all["CronJob/relish-training"]
	server, trainer := set.Spec.Template, training.Spec.JobTemplate.Spec.Template
	for _, name := range []string{
		"StatefulSet/relish", "Service/relish", "Service/" + set.Spec.ServiceName,
		"PodDisruptionBudget/relish", "NetworkPolicy/relish-server", "PodMonitor/relish",
	} {
		m, ok := all[name]
		selects := m.labels().selects
		if !ok || !selects(server.Metadata.Labels) || selects(trainer.Metadata.Labels) {
			t.Errorf("%s selects %v: it must select the replicas only", name, m.labels())
		}
	}
	if !all["NetworkPolicy/relish-training"].labels().selects(trainer.Metadata.Labels) {
		t.Error("no network policy selects the training job")
	}
	port := server.Spec.Containers[0].Ports[0]
	for _, name := range []string{"Service/relish", "Service/relish-replicas"} {
		if got := all[name].Spec.Ports[0].TargetPort; got != port.Name {
			t.Errorf("%s sends to port %v, but the replicas have %s", name, got, port.Name)
		}
	}
	for what, got := range map[string]string{
		"EXPOSE":     instruction(t, "EXPOSE"),
		"annotation": server.Metadata.Annotations["prometheus.io/port"],
	} {
		if got != strconv.Itoa(port.ContainerPort) {
			t.Errorf("%s has port %s, but the replicas have %d", what, got, port.ContainerPort)
		}
	}
	if e := all["PodMonitor/relish"].Spec.PodMetricsEndpoints[0]; e.Port != port.Name {
		t.Errorf("the monitor scrapes port %q", e.Port)
	}
	scaler := all["HorizontalPodAutoscaler/relish"].Spec
	_, ok := all[scaler.ScaleTargetRef.Kind+"/"+scaler.ScaleTargetRef.Name]
	if !ok || set.Spec.Replicas != nil {
		t.Error("the autoscaler has no target, or the StatefulSet sets replicas too")
	}
	rules := documents[adapter](t, "kubernetes/monitoring/adapter.yaml")[0].Rules
	used, provided := scaler.Metrics[0].Pods.Metric.Name, rules.Custom[0].Name.As
	if used != provided {
		t.Errorf("the autoscaler uses %q, but the adapter provides %q", used, provided)
	}
	for name, p := range map[string]pod{"replica": server, "trainer": trainer} {
		checkPod(t, name, p, all)
	}
}

// checkPod checks a pod's user against the image, and its volumes against its mounts, the claims
// and the secrets that README.md creates.
func checkPod(t *testing.T, name string, p pod, all map[string]manifest) {
	t.Helper()
	user, _, _ := strings.Cut(instruction(t, "USER"), ":")
	if c := p.Spec.SecurityContext; strconv.Itoa(c.RunAsUser) != user || !c.RunAsNonRoot {
		t.Errorf("%s: user %d, but the image has %s", name, c.RunAsUser, user)
	}
	var volumes, mounts []string
	for _, v := range p.Spec.Volumes {
		volumes = append(volumes, v.Name)
		claim, secret := v.PersistentVolumeClaim.ClaimName, v.Secret.SecretName
		if claim != "" && all["PersistentVolumeClaim/"+claim].Kind == "" {
			t.Errorf("%s: no claim %s", name, claim)
		}
		if secret != "" && !strings.Contains(read(t, "README.md"), "secret generic "+secret+" ") {
			t.Errorf("%s: README.md does not create the secret %s", name, secret)
		}
	}
	for _, m := range p.Spec.Containers[0].VolumeMounts {
		mounts = append(mounts, m.Name)
	}
	slices.Sort(volumes)
	slices.Sort(mounts)
	if !slices.Equal(volumes, mounts) {
		t.Errorf("%s: volumes %v, mounts %v", name, volumes, mounts)
	}
}

// relish serve reads the replicas' environment and answers their probes.
func TestKubernetesReplica(t *testing.T) {
	c := objects(t)["StatefulSet/relish"].Spec.Template.Spec.Containers[0]
	var names []string
	for _, e := range c.Env {
		names = append(names, e.Name)
	}
	if !slices.Equal(c.Args, []string{"serve"}) {
		t.Errorf("the replicas run %v", c.Args)
	}
	checkFlags(t, "statefulset.yaml", "serve", names)
	s := start(t, nil)
	for name, p := range map[string]probe{
		"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe,
	} {
		path, port := p.HTTPGet.Path, p.HTTPGet.Port
		if status, body := s.get(t, path); status != 200 || port != c.Ports[0].Name {
			t.Errorf("the %s probe of %s on port %s: %d %s", name, path, port, status, body)
		}
	}
}

// The training job trains from the logs of all replicas. Its script runs here over three folders,
// with a fake relish that prints its arguments.
func TestKubernetesTraining(t *testing.T) {
	c := objects(t)["CronJob/relish-training"].Spec.JobTemplate.Spec.Template.Spec.Containers[0]
	used := []string{}
	for _, e := range c.Env {
		used = append(used, e.Name)
	}
	dir := t.TempDir()
	for _, name := range []string{"relish-0", "relish-1", "relish-10", "bin"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const fake = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "bin", "relish"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	script := strings.ReplaceAll(c.Command[len(c.Command)-1], "/data/", dir+"/")
	args := append(slices.Clone(c.Command[1:len(c.Command)-1]), script)
	cmd := exec.Command(c.Command[0], args...)
	cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := strings.Fields(strings.ReplaceAll(string(out), dir, "/data"))
	want := []string{"train", "--data", "/data/relish-0",
		"--log", "/data/relish-1", "--log", "/data/relish-10"}
	if !slices.Equal(got, want) {
		t.Errorf("the job runs relish %v, want %v", got, want)
	}
	for _, arg := range got {
		if flag, ok := strings.CutPrefix(arg, "--"); ok {
			used = append(used, variable(flag))
		}
	}
	checkFlags(t, "training.yaml", "train", used)
}
