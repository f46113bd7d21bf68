package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrainBesideAnotherConfiguration trains with half-lives that the running server does not
// count. The server would refuse the bundle, so the training does not activate it and says what to
// do. When no server runs, the training activates its bundle, and the next server ranks with it.
func TestTrainBesideAnotherConfiguration(t *testing.T) {
	data, config := importEvents(t, demoEvents(1)), quickConfig(t)
	other := withConfig(t, config, "state: {half_lives: [all, 3d]}\n")
	feature := "train: {features: [{name: clicks, kind: count, scope: item, action: click, " +
		"half_life: 3d}, {name: shown, kind: count, scope: item, action: impression}],"
	text := strings.Replace(readFile(t, other), "train: {", feature, 1)
	if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--data", data, "--no-text", "--config", config)
	snapshot := relish(t, "snapshot", "--data", data, "--config", other, "--out",
		filepath.Join(t.TempDir(), "s"))
	const differs = "has other values of state.half_lives"
	printed, err := snapshot.CombinedOutput()
	if err != nil || !strings.Contains(string(printed), differs) {
		t.Errorf("a snapshot prints %s, %v; want %q", printed, err, differs)
	}
	out, dir := train(t, data, "--config", other, "--force", "a test")
	for _, want := range []string{
		"the running server (process ", `"3d"`, "state.half_lives", "Restart the server",
		"/activate",
	} {
		if out.Activated || !strings.Contains(out.Reason, want) {
			t.Errorf("activated %v: the reason does not say %q: %s", out.Activated, want,
				out.Reason)
		}
	}
	if card := readCard(t, dir); card.Gate.Activated || card.Gate.Reason != out.Reason {
		t.Errorf("the model card says %+v", card.Gate)
	}
	if status, answer := s.post(t, "/models/"+out.Version+"/activate", ""); status < 400 {
		t.Errorf("the server activates the bundle: %d %v", status, answer)
	}
	s.stop(t)
	if _, err := os.Stat(filepath.Join(data, "serving.yaml")); !os.IsNotExist(err) {
		t.Errorf("the stopped server still says what it serves: %v", err)
	}

	s = serve(t, "--data", data, "--no-text", "--config", other)
	status, answer := s.post(t, "/models/"+out.Version+"/activate", "")
	if status != http.StatusOK {
		t.Errorf("restarted with the configuration, the server answers %d %v", status, answer)
	}
	if again, _ := train(t, data, "--config", other, "--force", "a test"); !again.Activated {
		t.Errorf("beside the server with the same configuration: %+v", again)
	}
	s.stop(t)
	if again, _ := train(t, data, "--config", config, "--force", "a test"); !again.Activated {
		t.Errorf("without a server: %+v", again)
	}
}
