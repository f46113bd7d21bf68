package sha256sums_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"relish/internal/sha256sums"
)

// What Write writes is what sha256sum checks and what Read reads, and Check tells other contents.
func TestWriteReadCheck(t *testing.T) {
	dir := t.TempDir()
	if sums, err := sha256sums.Read(dir); sums != nil || err != nil {
		t.Errorf("a folder without digests: %v, %v", sums, err)
	}
	names := []string{"model.onnx", "sub/config.json"}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := sha256sums.Write(dir, names); err != nil {
		t.Fatal(err)
	}
	check := exec.Command("sha256sum", "-c", sha256sums.File)
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	sums, err := sha256sums.Read(dir)
	if err != nil || len(sums) != 2 {
		t.Fatalf("%v, %v", sums, err)
	}
	for _, c := range []struct{ name, content, want string }{
		{"model.onnx", "model.onnx", ""},
		{"sub/config.json", "sub/config.json", ""},
		{"model.onnx", "another model", "damaged"},
		{"another file", "", "lacks another file"},
	} {
		err := sums.Check(c.name, []byte(c.content))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %q: %v, want %q", c.name, c.content, err, c.want)
		}
	}
	if err := sha256sums.Sums(nil).Check("any file", nil); err != nil {
		t.Errorf("without digests: %v", err)
	}
	if sha256sums.Write(dir, []string{"missing"}) == nil {
		t.Error("a missing file has a digest")
	}
}
