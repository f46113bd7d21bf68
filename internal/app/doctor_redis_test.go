package app

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"relish/internal/config"
	"relish/internal/redistest"
)

// Doctor says for each replica how far it is with erasures, and why Redis cannot be asked.
func TestDoctorShowsErasuresOfReplicas(t *testing.T) {
	server, data := redistest.Start(t), t.TempDir()
	e := engineWithClick(t, StoreOptions{Data: data, Redis: server.URL()})
	if err := e.Store.EraseUser(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	doctor := Doctor{
		Data: data, Redis: server.URL(), Encoder: EncoderOptions{NoText: true},
		Config: config.Default(), Log: slog.New(slog.DiscardHandler),
	}
	want := fmt.Sprintf("replica %s: erased users whose events are still in its log: 1, erasures "+
		"that it has not heard of", e.Store.Replica())
	finds := func(f Finding) bool { return strings.HasPrefix(f.Detail, want) }
	deadline := time.Now().Add(time.Minute)
	for !slices.ContainsFunc(doctor.Examine(t.Context()), finds) {
		if time.Now().After(deadline) {
			t.Fatalf("findings %+v, want one that begins with %q", doctor.findings, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
	doctor.Redis += "/99"
	refused := func(f Finding) bool {
		return !f.OK && strings.Contains(f.Detail, "correct the database")
	}
	if found := doctor.Examine(t.Context()); !slices.ContainsFunc(found, refused) {
		t.Errorf("with a wrong database: %+v", found)
	}
}
