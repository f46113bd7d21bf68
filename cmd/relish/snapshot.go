package main

import (
	"context"
	"fmt"
	"os"

	"relish/internal/app"
	"relish/internal/config"
)

type snapshotCmd struct {
	storeFlags `group:"Data:"`
	Out        string `help:"New folder to write." required:"" type:"path" placeholder:"DIR"`
	JSON       bool   `help:"Print the manifest as JSON."`
}

// Run writes a snapshot beside the running service.
func (c *snapshotCmd) Run(ctx context.Context, cfg *config.Config) error {
	if differs := app.ServerDiffers(c.Data, cfg); differs != "" {
		fmt.Fprintln(os.Stderr, "warning:", differs)
	}
	m, err := app.WriteSnapshot(ctx, c.options(), cfg, c.Out)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(m)
	}
	for _, f := range m.Files {
		fmt.Printf("%-16s %10d rows %12d bytes  sha256 %s\n", f.Name, f.Rows, f.Bytes, f.SHA256)
	}
	return nil
}
