package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"relish/features"
	"relish/features/ingest"
	"relish/internal/durable"
	"relish/ranker"
	"relish/ranker/bundle"
)

// servingFile is a file of the data folder. It has the servingConfig of the server that runs on the
// folder.
const servingFile = "serving.yaml"

// servingConfig is what decides which bundles a server can rank with. A training beside the server
// reads it, to activate no bundle that the server would refuse.
type servingConfig struct {
	State   features.Config `yaml:"state"`
	Encoder string          `yaml:"encoder"` // digest of the text encoder; empty without one
}

// announce writes what this server can rank with into its data folder. Close removes it.
func (a *App) announce(data string, state features.Config) error {
	text, err := yaml.Marshal(servingConfig{state, a.engine.encoderDigest()})
	if err != nil {
		return err
	}
	a.announced = filepath.Join(data, servingFile)
	return durable.WriteFile(durable.Disk, a.announced, text)
}

// serverRefuses returns why the server that runs on the data folder cannot rank with a bundle. It
// returns nil if the server can, or if none runs: then the configuration of the next start decides.
func serverRefuses(data string, b *bundle.Bundle) error {
	process := ingest.LockHolder(data)
	if process == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(data, servingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the process does not serve
	}
	var server servingConfig
	if err == nil {
		err = yaml.Unmarshal(text, &server)
	}
	if err != nil {
		return fmt.Errorf("it is unknown what the server with process %s can rank with: %w. "+
			"Restart the server and train again", process, err)
	}
	err = b.CheckCompatible(server.Encoder, func(s *ranker.Schema) error {
		return features.CheckSchema(&server.State, s)
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("the running server (process %s) would refuse it: %w. Restart the server "+
		"with the configuration of this training, and then activate the bundle with "+
		"POST /models/VERSION/activate", process, err)
}
