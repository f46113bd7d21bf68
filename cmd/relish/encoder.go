package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"relish/embeddings/hub"
)

type encoderCmd struct {
	Pull pullCmd `cmd:"" help:"Download an encoder from the Hugging Face hub (HF_ENDPOINT, HF_TOKEN)."`
}

type pullCmd struct {
	encoderFlags `group:"Text encoder:"`
	Name         string `arg:"" help:"NAME[@REVISION], such as sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2."`
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
	err = hub.Pull(ctx, hub.Options{
		Name: name, Revision: revision, Dir: dir,
		Progress: func(_ string, done, total int64) { p.set(int(done), int(total)) },
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s is in %s; use it with --encoder %s\n", c.Name, dir, name)
	return nil
}
