package app

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"relish/internal/config"
	"relish/internal/redistest"
	"relish/ranker"
)

// A command that waits for Redis gives up with the reason if Redis refuses what the URL says. The
// check of readiness names the reason too. The events stay in the log.
func TestFlushSaysWhyRedisFails(t *testing.T) {
	server := redistest.Start(t)
	e := engineWithClick(t, StoreOptions{Data: t.TempDir(), Redis: server.URL() + "/99"})
	const want = "correct the database"
	if err := FlushStore(t.Context(), e.Store); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one that says %q", err, want)
	}
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(storeCheck(e.Store).Detail, want) {
		if time.Now().After(deadline) {
			t.Fatalf("the check of readiness says %q", storeCheck(e.Store).Detail)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// engineWithClick opens an engine without texts, which the test closes at its end, and stores a
// click of the user u.
func engineWithClick(t *testing.T, store StoreOptions) *Engine {
	t.Helper()
	e, err := OpenEngine(t.Context(), EngineOptions{
		Store: store, Encoder: EncoderOptions{NoText: true}, Config: config.Default(),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	_, err = e.Store.Append(t.Context(), []ranker.Event{{
		Kind: ranker.EventInteraction, ID: "e", UserID: "u", ItemID: "i", Action: "click",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
