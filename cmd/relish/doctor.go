package main

import (
	"context"
	"fmt"

	"relish/internal/app"
	"relish/internal/config"
)

type doctorCmd struct {
	dataFlags    `group:"Data:"`
	bundleFlags  `group:"Data:"`
	encoderFlags `group:"Text encoder:"`
	logFlags     `group:"Logging:"`
	Redis        string `help:"Also say how far each replica that shares this Redis is with erasures." placeholder:"URL"`
	URL          string `help:"Ask the service at this address whether it is ready, and do not look at the data folder." name:"url" placeholder:"URL"`
	JSON         bool   `help:"Print the findings as JSON."`
}

// Run checks the assets and the data folder, or asks a service. It may run beside a service. The
// exit status is 1 if a check fails.
func (c *doctorCmd) Run(ctx context.Context, cfg *config.Config) error {
	var findings []app.Finding
	if c.URL != "" {
		findings = app.AskService(ctx, c.URL)
	} else {
		doctor := app.Doctor{
			Data: c.Data, Bundles: c.Bundles, Redis: c.Redis, Encoder: c.options(),
			Config: cfg, Log: c.logger(),
		}
		findings = doctor.Examine(ctx)
	}
	return c.print(findings)
}

// print prints the findings and returns an error if a check failed.
func (c *doctorCmd) print(findings []app.Finding) error {
	failed := 0
	for _, f := range findings {
		mark := "ok"
		if !f.OK {
			mark = "BAD"
			failed++
		}
		if !c.JSON {
			fmt.Printf("%-4s %-10s %s\n", mark, f.What, f.Detail)
		}
	}
	if c.JSON {
		if err := printJSON(findings); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(findings))
	}
	return nil
}
