package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"relish/embeddings"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/internal/config"
)

type doctorCmd struct {
	dataFlags
	bundleFlags
	encoderFlags
	logFlags
	URL  string `help:"Ask the service at this address whether it is ready, instead of looking at the folder. It needs no key." name:"url" placeholder:"URL"`
	JSON bool   `help:"Print the findings as JSON."`
}

// finding is one thing doctor looked at.
type finding struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Run looks at the assets and, beside a running server, at the data folder, or asks a service. Exit
// status 1 when something is wrong.
func (c *doctorCmd) Run(ctx context.Context, cfg *config.Config) error {
	var found []finding
	if c.URL != "" {
		found = askReady(ctx, c.URL)
	} else {
		found = c.examine(ctx, cfg)
	}
	return c.tell(found)
}

// examine looks at the assets and the data folder.
func (c *doctorCmd) examine(ctx context.Context, cfg *config.Config) (found []finding) {
	add := func(what string, err error, format string, args ...any) {
		f := finding{What: what, OK: err == nil, Detail: fmt.Sprintf(format, args...)}
		if err != nil {
			f.Detail = err.Error()
		}
		found = append(found, f)
	}
	if !c.NoText {
		detail, err := c.checkEncoder(ctx)
		add("encoder", err, "%s", detail)
	}
	events, err := c.checkLog(ctx)
	add("event log", err, "%d records, sequence without gaps, checksums good", events)
	pending, err := ingest.PendingErasures(c.Data)
	add("erasures", err, "%d users' events still to be rewritten out of the log", pending)
	c.checkBundles(ctx, c.root(c.Data), cfg, add)
	holder := ingest.LockHolder(c.Data)
	add("lock", nil, "%s", map[bool]string{true: "free", false: "held by process " + holder}[holder == ""])
	return found
}

// tell prints the findings, and fails if one is bad.
func (c *doctorCmd) tell(found []finding) error {
	bad := 0
	for _, f := range found {
		if !f.OK {
			bad++
		}
		if !c.JSON {
			fmt.Printf("%-4s %-10s %s\n", map[bool]string{true: "ok", false: "BAD"}[f.OK], f.What, f.Detail)
		}
	}
	if c.JSON {
		if err := printJSON(found); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks failed", bad, len(found))
	}
	return nil
}

// checkEncoder loads the encoder and encodes a probe text.
func (c *doctorCmd) checkEncoder(ctx context.Context) (string, error) {
	enc, err := c.loadEncoder(c.logger())
	if err != nil {
		return "", err
	}
	defer enc.Close()
	v, err := embeddings.New(enc, embeddings.Options{Log: c.logger()})
	if err != nil {
		return "", err
	}
	defer v.Close(ctx)
	if _, err := v.Text(ctx, "a probe"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d dimensions on %s, digest %.12s", enc.Dim(), enc.Device(), enc.Digest()), nil
}

func (c *doctorCmd) checkLog(ctx context.Context) (int, error) {
	if _, err := os.Stat(c.Data); err != nil {
		return 0, fmt.Errorf("no data folder: fill %s with relish demo or relish import", filepath.Clean(c.Data))
	}
	n := 0
	for _, err := range eventlog.Read(ingest.LogDir(c.Data), 1) {
		if err != nil {
			return n, fmt.Errorf("after %d records: %w", n, err)
		}
		if n++; ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
	return n, nil
}
