package app_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"relish/features"
	"relish/features/embedded"
	"relish/internal/app"
	"relish/ranker"
)

// An id that two events have is a conflict, within a file, between files and between imports. The
// same event is a duplicate.
func TestImportIDConflicts(t *testing.T) {
	dir := t.TempDir()
	store, err := embedded.Open(dir, features.DefaultConfig(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	const header = "id,user,item,action\n"
	run := func(want app.LoadCounts, files ...string) {
		t.Helper()
		for i, rows := range files {
			path := filepath.Join(dir, string(rune('a'+i))+".csv")
			if err := os.WriteFile(path, []byte(header+rows), 0o600); err != nil {
				t.Fatal(err)
			}
			files[i] = path
		}
		in := &app.Import{
			Sink: store, Data: dir, Files: files,
			Rejected: func(_ string, _ int, reason *ranker.EventError) error {
				if reason.Code != "id_conflict" || !strings.Contains(reason.Message, "--source") {
					t.Error(reason)
				}
				return nil
			},
		}
		summary, err := in.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if summary.LoadCounts != want {
			t.Errorf("got %+v, want %+v", summary.LoadCounts, want)
		}
	}
	run(app.LoadCounts{Accepted: 2, Duplicates: 1, Rejected: 1},
		"1,alice,a,view\n1,bob,b,view\n1,alice,a,view\n2,bob,b,view\n")
	run(app.LoadCounts{Accepted: 1, Duplicates: 1, Rejected: 2},
		"1,alice,a,view\n1,carol,a,view\n3,alice,a,view\n", "3,bob,a,view\n")
}

// An import ends with its context, also while it waits for a row that does not come, or for
// somebody to open a pipe.
func TestImportEndsWhileItWaits(t *testing.T) {
	for name, write := range map[string]func(io.Writer){
		"nothing":   func(io.Writer) {},
		"some rows": func(w io.Writer) { io.WriteString(w, "user,item,action\nu,i,view\nu,") },
	} {
		t.Run(name, func(t *testing.T) {
			in, out := io.Pipe()
			defer out.Close()
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				write(out)
				cancel()
			}()
			i := &app.Import{Data: t.TempDir(), Files: []string{"-"}, In: in}
			if _, err := i.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a pipe", func(t *testing.T) {
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		i := &app.Import{Data: t.TempDir(), Files: []string{pipe}}
		if _, err := i.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		// The goroutine that opens the pipe ends.
		if f, err := os.OpenFile(pipe, os.O_RDWR, 0); err == nil {
			f.Close()
		}
	})
}
