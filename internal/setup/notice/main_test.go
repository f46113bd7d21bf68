package main

import (
	"bytes"
	"os"
	"testing"
)

// TestNoticeIsCurrent fails if a dependency changed and NOTICE was not written again.
func TestNoticeIsCurrent(t *testing.T) {
	t.Chdir("../../..")
	parts, err := modules("./cmd/relish")
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	write(&want, append(parts, loaded...))
	got, err := os.ReadFile("NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("NOTICE does not list what the binary links; run make notice and commit the file")
	}
}
