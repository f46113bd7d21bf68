package main

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"relish/internal/app"
)

// python has pyarrow and DuckDB, which other systems read and write Arrow files with.
const python = "../../.cache/venv/bin/python"

// runPython runs testdata/arrow.py and returns its standard output.
func runPython(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(python, append([]string{"testdata/arrow.py"}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("%v; make test-setup installs Python", err)
	}
	return string(out)
}

// contribution returns the value and the contribution of a feature in the first item's explanation.
func contribution(answer map[string]any, feature string) (value, part float64, ok bool) {
	first := answer["items"].([]any)[0].(map[string]any)
	for _, c := range first["explain"].(map[string]any)["contributions"].([]any) {
		if c := c.(map[string]any); c["feature"] == feature {
			return c["value"].(float64), c["contribution"].(float64), true
		}
	}
	return 0, 0, false
}

// TestImportedTables imports tables that pyarrow wrote, before and while a service runs. Their
// columns have the configured weights, and still have them after a restart.
func TestImportedTables(t *testing.T) {
	dir, files := filepath.Join(t.TempDir(), "d"), t.TempDir()
	output(t, "demo", "--data", dir, "--users", "40", "--lists", "300", "--no-text")
	config := filepath.Join(files, "relish.yaml")
	const weights = `tables:
- {column: people.loyalty, weight: 0.5}
- {column: shop.margin, weight: 100}
`
	if err := os.WriteFile(config, []byte(weights), 0o600); err != nil {
		t.Fatal(err)
	}
	runPython(t, "write", files)
	output(t, "import", "--data", dir, "--format", "arrow", "--name", "people", filepath.Join(files,
		"users.arrow"))

	const ask = `{"user_id":"reader","candidates":["film-001","book-001","book-002"],"explain":1,
		"deadline_ms":10000}`
	s := serve(t, "--data", dir, "--no-text", "--config", config)
	status, before := s.post(t, "/recommend", ask)
	if value, part, ok := contribution(before, "table.people.loyalty"); status != http.StatusOK ||
		!ok || value != 0.75 || part != 0.375 {
		t.Errorf("status %d, the user column has the value %v and the contribution %v (%v)", status,
			value, part, ok)
	}
	if _, _, ok := contribution(before, "table.shop.margin"); ok {
		t.Error("a column is explained before its import")
	}
	output(t, "import", "--data", dir, "--format", "arrow", "--name", "shop", filepath.Join(files,
		"items.arrow"))
	_, after := s.post(t, "/recommend", ask)
	if value, _, ok := contribution(after, "table.shop.margin"); !ok || value != 1.5 ||
		order(t, after)[0] != "book-001" || order(t, after)[2] != "film-001" {
		t.Errorf("after the import, the answer is %v", after)
	}

	// A damaged file is refused, and the older version stays in use.
	cut := filepath.Join(files, "cut.arrow")
	whole, err := os.ReadFile(filepath.Join(files, "items.arrow"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, whole[:len(whole)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	out := mustFail(t, 1, "import", "--data", dir, "--format", "arrow", "--name", "shop", cut)
	if !strings.Contains(out, "the Arrow IPC file is truncated") ||
		!strings.Contains(out, "table shop stays as it is") {
		t.Errorf("the import of a file without its end prints %s", out)
	}
	s.stop(t)
	s = serve(t, "--data", dir, "--no-text", "--config", config)
	if _, again := s.post(t, "/recommend", ask); order(t, again)[0] != "book-001" {
		t.Errorf("after a restart, the answer is %v", again)
	}
	s.stop(t)
}

// TestDamagedTables flips bits in table files. The child process that reads a file may fail, and
// then the error has a reason; this process goes on.
func TestDamagedTables(t *testing.T) {
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
					t.Error("a file was refused without a reason")
				}
			}
		}
	}
	if refused == 0 {
		t.Error("no file was refused: the damage has no effect")
	}
}

// convertTable converts a file in a child process, and returns the digest of the result.
func convertTable(t *testing.T, in, out string) (string, error) {
	t.Helper()
	t.Setenv(testMainVariable, "1") // the child is this test binary
	info, err := app.ConvertColumns(t.Context(), in, out)
	return info.SHA256, err
}

// TestSnapshotIsReadByPyarrow reads a snapshot with pyarrow and DuckDB. An embedded store that
// starts from the snapshot writes the same snapshot again.
func TestSnapshotIsReadByPyarrow(t *testing.T) {
	dir, snap := filepath.Join(t.TempDir(), "d"), filepath.Join(t.TempDir(), "snap")
	output(t, "demo", "--data", dir, "--users", "40", "--lists", "300", "--no-text")
	var m struct {
		Files []struct {
			Name string
			Rows int
		}
	}
	manifest := output(t, "snapshot", "--data", dir, "--out", snap, "--json")
	if err := json.Unmarshal([]byte(manifest), &m); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(runPython(t, "read", snap)), &got); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if n, _ := got[strings.TrimSuffix(f.Name, ".arrow")].(float64); int(n) != f.Rows ||
			f.Rows == 0 {
			t.Errorf("pyarrow reads %v rows of %s, the manifest says %d", n, f.Name, f.Rows)
		}
	}
	if liked, ok := got["liked"].([]any); !ok || liked[0] == "" {
		t.Errorf("the join in DuckDB gives %v", got["liked"])
	}
	other := filepath.Join(t.TempDir(), "other")
	output(t, "rebuild", "--from", snap, "--data", other)
	again := filepath.Join(t.TempDir(), "again")
	output(t, "snapshot", "--data", other, "--out", again)
	if diff := runPython(t, "same", snap, again); diff != "" {
		t.Errorf("the snapshot after a rebuild differs:\n%s", diff)
	}
}
