package main

import (
	"context"
	"fmt"

	"relish/internal/app"
	"relish/internal/config"
)

type rebuildCmd struct {
	storeFlags `group:"Data:"`
	logFlags   `group:"Logging:"`
	From       string   `help:"Start from this snapshot and add the log records that it lacks." type:"path" placeholder:"DIR"`
	Log        []string `help:"With --redis: data folders of other replicas. Those that run send their logs themselves." type:"path" placeholder:"DIR"`
}

// Run rebuilds the feature state from the event logs, or from a snapshot.
func (c *rebuildCmd) Run(ctx context.Context, cfg *config.Config) error {
	p := newProgress("to Redis")
	rebuild := app.Rebuild{
		Store: c.options(), Config: cfg, From: c.From, Logs: c.Log, Progress: p.count,
		Log:     c.logger(),
		Skipped: func(dir, reason string) { fmt.Printf("%s is skipped: %s\n", dir, reason) },
	}
	result, err := rebuild.Run(ctx)
	p.end()
	if err != nil {
		return err
	}
	fmt.Println(result)
	return nil
}
