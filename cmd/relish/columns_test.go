package main

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"relish/internal/app"
)

const python = "../../.cache/venv/bin/python"

// runPython runs the other side of the exchange and returns what it printed.
func runPython(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(python, append([]string{"testdata/arrow.py"}, args...)...)
	out, err := cmd.Output()
	if ee, ok := err.(*exec.ExitError); ok {
		t.Fatalf("%v\n%s", err, ee.Stderr)
	}
	if err != nil {
		t.Fatalf("%v: make test-setup installs it", err)
	}
	return string(out)
}

// contribution returns what the explanation of the first item says of a feature.
func contribution(answer map[string]any, feature string) (value, part float64, ok bool) {
	first := answer["items"].([]any)[0].(map[string]any)
	for _, c := range first["explain"].(map[string]any)["contributions"].([]any) {
		if c := c.(map[string]any); c["feature"] == feature {
			return c["value"].(float64), c["contribution"].(float64), true
		}
	}
	return 0, 0, false
}

// Tables that pyarrow wrote are used by name, before and while the service runs, and survive a restart.
func TestImportedTables(t *testing.T) {
	dir, files := filepath.Join(t.TempDir(), "d"), t.TempDir()
	output(t, "demo", "--data", dir, "--users", "40", "--lists", "300", "--no-text")
	config := filepath.Join(files, "relish.yaml")
	if err := os.WriteFile(config, []byte("tables:\n- {column: people.loyalty, weight: 0.5}\n- {column: shop.margin, weight: 100}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runPython(t, "write", files)
	output(t, "import", "--data", dir, "--format", "arrow", "--name", "people", filepath.Join(files, "users.arrow"))

	const ask = `{"user_id":"reader","candidates":["film-001","book-001","book-002"],"explain":1,"deadline_ms":10000}`
	s := serve(t, "--data", dir, "--no-text", "--config", config)
	status, before := s.post(t, "/recommend", ask)
	if value, part, ok := contribution(before, "table.people.loyalty"); status != http.StatusOK || !ok || value != 0.75 || part != 0.375 {
		t.Errorf("status %d, the user's column: %v %v %v", status, value, part, ok)
	}
	if _, _, ok := contribution(before, "table.shop.margin"); ok {
		t.Error("a column was explained before its import")
	}
	output(t, "import", "--data", dir, "--format", "arrow", "--name", "shop", filepath.Join(files, "items.arrow"))
	_, after := s.post(t, "/recommend", ask)
	if value, _, ok := contribution(after, "table.shop.margin"); !ok || value != 1.5 || order(t, after)[0] != "book-001" || order(t, after)[2] != "film-001" {
		t.Errorf("after the import: %v", after)
	}

	// What is refused leaves the old one in use.
	cut := filepath.Join(files, "cut.arrow")
	whole, err := os.ReadFile(filepath.Join(files, "items.arrow"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, whole[:len(whole)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := relish(t, "import", "--data", dir, "--format", "arrow", "--name", "shop", cut).CombinedOutput(); err == nil || !strings.Contains(string(out), "cut off") {
		t.Errorf("a file without its end: %v, %s", err, out)
	}
	s.stop(t)
	s = serve(t, "--data", dir, "--no-text", "--config", config)
	if _, again := s.post(t, "/recommend", ask); order(t, again)[0] != "book-001" {
		t.Errorf("after a restart: %v", again)
	}
	s.stop(t)
}

// Whatever is done to a file, the process that reads it says so, soon, and only it suffers.
func TestMangledTables(t *testing.T) {
	files := t.TempDir()
	runPython(t, "write", files)
	rng := rand.New(rand.NewPCG(7, 7))
	bad, refused := filepath.Join(files, "bad.arrow"), 0
	for _, name := range []string{"users.arrow", "items.arrow"} {
		whole, err := os.ReadFile(filepath.Join(files, name))
		if err != nil {
			t.Fatal(err)
		}
		for range 25 {
			data := append([]byte(nil), whole...)
			for range 1 + rng.IntN(4) {
				data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
			}
			if err := os.WriteFile(bad, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := convertTable(t, bad, filepath.Join(files, "out")); err != nil {
				if refused++; err.Error() == "" {
					t.Error("refused without a reason")
				}
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused: the files were not mangled")
	}
}

func convertTable(t *testing.T, in, out string) (string, error) {
	t.Helper()
	t.Setenv("RELISH_TEST_MAIN", "1") // the child is this test binary, as relish
	info, err := app.ConvertColumns(t.Context(), in, out)
	return info.SHA256, err
}

// A snapshot is read by pyarrow, and by DuckDB over pyarrow.
func TestSnapshotIsReadByPyarrow(t *testing.T) {
	dir, snap := filepath.Join(t.TempDir(), "d"), filepath.Join(t.TempDir(), "snap")
	output(t, "demo", "--data", dir, "--users", "40", "--lists", "300", "--no-text")
	var m struct {
		Files []struct {
			Name string
			Rows int
		}
	}
	if err := json.Unmarshal([]byte(output(t, "snapshot", "--data", dir, "--out", snap, "--json")), &m); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(runPython(t, "read", snap)), &got); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if n, _ := got[strings.TrimSuffix(f.Name, ".arrow")].(float64); int(n) != f.Rows || f.Rows == 0 {
			t.Errorf("%s has %d rows, pyarrow finds %v", f.Name, f.Rows, n)
		}
	}
	if liked, ok := got["liked"].([]any); !ok || liked[0] == "" {
		t.Errorf("DuckDB's join found %v", got["liked"])
	}
	// An embedded store that starts from it has the same state; it is another replica that counts on.
	other := filepath.Join(t.TempDir(), "other")
	output(t, "rebuild", "--from", snap, "--data", other)
	again := filepath.Join(t.TempDir(), "again")
	output(t, "snapshot", "--data", other, "--out", again)
	if diff := runPython(t, "same", snap, again); diff != "" {
		t.Errorf("after a rebuild:\n%s", diff)
	}
}
