package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"relish/features"
	"relish/features/embedded"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/features/snapshot"
	"relish/internal/config"
)

type snapshotCmd struct {
	storeFlags
	Out  string `help:"Folder to write; it must not exist. It appears when it is whole." required:"" type:"path" placeholder:"DIR"`
	JSON bool   `help:"Print the manifest as JSON."`
}

// Run writes a snapshot beside the running service.
func (c *snapshotCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	cfg.State.Text = cfg.Text
	d, done, err := c.dump(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	m, err := snapshot.Write(c.Out, d)
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

// dump returns the state of Redis, or else of the data folder as of its last whole record.
func (c *snapshotCmd) dump(ctx context.Context, cfg *config.Config) (*features.Dump, func() error, error) {
	conn, err := c.connect()
	if err != nil {
		return nil, nil, err
	}
	if conn != nil {
		d, err := redis.Dump(ctx, conn, cfg.State)
		if err != nil {
			return nil, nil, errors.Join(err, conn.Close())
		}
		return d, conn.Close, nil
	}
	if _, err := os.Stat(c.Data); err != nil {
		return nil, nil, fmt.Errorf("no data folder: %w", err)
	}
	s, err := embedded.LoadState(c.Data, cfg.State)
	if err != nil {
		return nil, nil, err
	}
	replica, err := eventlog.Replica(ingest.LogDir(c.Data))
	return s.Dump(replica), func() error { return nil }, err
}

type rebuildCmd struct {
	storeFlags
	logFlags
	From string   `help:"Start from this snapshot; logs that it has no record of come on top." type:"path" placeholder:"DIR"`
	Log  []string `help:"Further data folders whose logs take part, with --redis: one per replica that is not running. Running ones bring in their logs by themselves." type:"path" placeholder:"DIR"`
}

// Run makes the state anew from the logs, which are the truth, or from a snapshot.
func (c *rebuildCmd) Run(ctx context.Context, cfg *config.Config) (err error) {
	cfg.State.Text = cfg.Text
	var d *features.Dump
	if c.From != "" {
		if d, err = snapshot.Load(c.From, cfg.State); err != nil {
			return err
		}
	}
	if c.Redis != "" {
		return c.shared(ctx, cfg, d)
	}
	if len(c.Log) > 0 {
		return fmt.Errorf("%w: --log is for --redis; an embedded store has one log", errUsage)
	}
	return c.embedded(cfg, d)
}

func (c *rebuildCmd) embedded(cfg *config.Config, d *features.Dump) (err error) {
	unlock, err := ingest.Lock(c.Data)
	if err != nil {
		return err
	}
	defer unlock()
	if d == nil {
		err = embedded.RemoveCheckpoint(c.Data)
	} else {
		err = c.base(d)
	}
	if err != nil {
		return err
	}
	s, err := embedded.Open(c.Data, cfg.State, embedded.Options{Ingest: ingest.Options{Log: c.logger()}})
	if err != nil {
		return err
	}
	st := s.Stats()
	fmt.Printf("%d items, %d users, %d field values, up to record %d\n", st.Items, st.Users, st.FieldValues, st.Seq)
	return s.Close()
}

func (c *rebuildCmd) base(d *features.Dump) error {
	replica, err := eventlog.Replica(ingest.LogDir(c.Data))
	if err != nil {
		return err
	}
	state, err := d.State(replica)
	if err != nil {
		return err
	}
	return embedded.SetBase(c.Data, state)
}

func (c *rebuildCmd) shared(ctx context.Context, cfg *config.Config, d *features.Dump) (err error) {
	conn, err := c.connect()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var folders []string
	for _, dir := range append([]string{c.Data}, c.Log...) {
		if _, err := os.Stat(ingest.LogDir(dir)); err != nil {
			fmt.Printf("%s: no log\n", dir)
			continue
		}
		if pid := ingest.LockHolder(dir); pid != "" {
			fmt.Printf("%s: its replica is running (process %s) and brings in its log\n", dir, pid)
			continue
		}
		unlock, err := ingest.Lock(dir)
		if err != nil {
			return err
		}
		defer unlock()
		folders = append(folders, dir)
	}
	p, n := newProgress("to Redis"), 0
	err = redis.Rebuild(ctx, conn, cfg.State, d, folders, func(done int) { n = done; p.set(done, 0) })
	p.end()
	if err != nil {
		return err
	}
	fmt.Printf("%d users and items in Redis\n", n)
	return nil
}
