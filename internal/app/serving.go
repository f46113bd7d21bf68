package app

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"relish/features"
	"relish/features/ingest"
	"relish/internal/config"
	"relish/internal/durable"
	"relish/ranker"
	"relish/ranker/bundle"
)

// servingFile is a file of the data folder. It has the servingConfig of the server that runs on the
// folder.
const servingFile = "serving.yaml"

// servingConfig is where a server listens, what it counts, and what decides which bundles it can
// rank with. Commands beside the server read it: an import names the address, a training activates
// no bundle that the server would refuse, and what computes the state warns if its own
// configuration differs.
type servingConfig struct {
	Address string          `yaml:"address"` // URL for processes of the same machine
	State   features.Config `yaml:"state"`
	Text    ranker.TextSpec `yaml:"text"`
	Encoder string          `yaml:"encoder"` // digest of the text encoder; empty without one
}

// announce writes the servingFile. Close removes it.
func (a *App) announce(opt Options) error {
	state := opt.Config.State
	text, err := yaml.Marshal(servingConfig{
		opt.address, state, state.Text, encoderDigest(a.engine.encoder),
	})
	if err != nil {
		return err
	}
	a.announced = filepath.Join(opt.Store.Data, servingFile)
	return durable.WriteFile(durable.Disk, a.announced, text)
}

// localURL returns the URL of a listener for processes of this machine. One that listens on all
// addresses is reached by the loopback address.
func localURL(address net.Addr) string {
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// serverRefuses returns why the server that runs on the data folder cannot rank with a bundle that
// was trained with a state, or would compute other features for it. It returns nil if the server
// can, or if none runs: then the configuration of the next start decides.
func serverRefuses(data string, trained features.Config, b *bundle.Bundle) error {
	server, process, err := readServing(data)
	if err != nil {
		return fmt.Errorf("it is unknown what the server with process %s can rank with: %w. "+
			"Restart the server and train again", process, err)
	}
	if server == nil {
		return nil
	}
	err = b.CheckCompatible(server.Encoder, func(s *ranker.Schema) error {
		return features.CheckSchema(&server.State, s)
	})
	trained.DedupeIDs = server.State.DedupeIDs // no feature depends on it
	if keys := otherKeys(server.State, trained); err == nil && len(keys) > 0 {
		err = fmt.Errorf("its features would have other values there, because the server has "+
			"other values of %s", strings.Join(keys, ", "))
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("the running server (process %s) would refuse it: %w. Restart the server "+
		"with the configuration of this training, and then activate the bundle with "+
		"POST /models/VERSION/activate", process, err)
}

// readServing returns the configuration of the server that runs on the data folder, and the id of
// its process; nil if none runs.
func readServing(data string) (server *servingConfig, process string, err error) {
	if process = ingest.LockHolder(data); process == "" {
		return nil, "", nil
	}
	text, err := os.ReadFile(filepath.Join(data, servingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, process, nil // the process does not serve
	}
	if err != nil {
		return nil, process, err
	}
	server = new(servingConfig)
	return server, process, yaml.Unmarshal(text, server)
}

// ServerDiffers says in which keys the server that runs on the data folder is configured
// differently. It returns "" if it counts what cfg says, if none runs, or if it does not say.
func ServerDiffers(data string, cfg *config.Config) string {
	server, process, err := readServing(data)
	if server == nil || err != nil {
		return ""
	}
	keys := otherKeys(server.State, cfg.State)
	if !slices.Equal(server.Text, cfg.Text) {
		keys = append(keys, "text")
	}
	if len(keys) == 0 {
		return ""
	}
	return fmt.Sprintf("the server on this data folder (process %s) has other values of %s; this "+
		"command computes with its own. Give both the same file with --config", process,
		strings.Join(keys, ", "))
}

// otherKeys returns the keys of the section "state" in which two configurations differ, sorted.
func otherKeys(a, b features.Config) (keys []string) {
	other := sectionOf(b)
	for key, value := range sectionOf(a) {
		if !reflect.DeepEqual(value, other[key]) {
			keys = append(keys, "state."+key)
		}
	}
	slices.Sort(keys)
	return keys
}

// sectionOf returns a configuration as a section of a file.
func sectionOf(c features.Config) (section map[string]any) {
	text, err := yaml.Marshal(c)
	if err == nil {
		err = yaml.Unmarshal(text, &section)
	}
	if err != nil {
		panic(err) // a configuration has numbers and texts alone
	}
	return section
}
