package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"relish/features"
	"relish/features/embedded"
	"relish/features/eventlog"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/features/snapshot"
	"relish/internal/config"
	"relish/internal/plural"
)

// WriteSnapshot writes the feature state to the folder out, as Arrow files with a manifest. It
// works beside a running service: it reads Redis, or else the checkpoint and the event log up to
// its last complete record. The folder must not exist; it appears when it is complete.
func WriteSnapshot(
	ctx context.Context, store StoreOptions, cfg *config.Config, out string,
) (m *snapshot.Manifest, err error) {
	cfg.State.Text = cfg.Text
	conn, err := store.connectChecked(ctx)
	if err != nil {
		return nil, err
	}
	var dump *features.Dump
	if conn != nil {
		defer func() { err = errors.Join(err, conn.Close()) }()
		dump, err = redis.Dump(ctx, conn, cfg.State)
	} else {
		dump, err = dumpFolder(store.Data, cfg)
	}
	if err != nil {
		return nil, err
	}
	return snapshot.Write(out, dump)
}

// dumpFolder returns the embedded state of a data folder.
func dumpFolder(data string, cfg *config.Config) (*features.Dump, error) {
	if err := CheckData("--data", data); err != nil {
		return nil, err
	}
	state, err := embedded.LoadState(data, cfg.State)
	if err != nil {
		return nil, err
	}
	replica, err := eventlog.Replica(ingest.LogDir(data))
	if err != nil {
		return nil, err
	}
	return state.Dump(replica), nil
}

// Rebuild computes the feature state again from event logs, or from a snapshot and the logs that it
// lacks.
type Rebuild struct {
	Store  StoreOptions
	Config *config.Config
	From   string // snapshot folder; empty: from the logs alone
	// Logs are data folders of other replicas. Only a rebuild of Redis takes them.
	Logs []string
	// Skipped is called with each data folder whose log is not read, and the reason. It may be nil.
	Skipped func(dir, reason string)
	// Progress is called with the number of users and items that were written to Redis.
	Progress func(done int)
	Log      *slog.Logger
}

// Run rebuilds the state and returns a description of the result.
func (r *Rebuild) Run(ctx context.Context) (string, error) {
	r.Config.State.Text = r.Config.Text
	if r.Store.Redis == "" && len(r.Logs) > 0 {
		return "", Usagef("--log is for --redis: an embedded state has one log, that of --data")
	}
	if r.From == "" { // a snapshot may fill a new folder
		if err := CheckData("--data", r.Store.Data); err != nil {
			return "", err
		}
	}
	var dump *features.Dump
	if r.From != "" {
		var err error
		if dump, err = snapshot.Load(r.From, r.Config.State); err != nil {
			return "", err
		}
	}
	if r.Store.Redis != "" {
		return r.redis(ctx, dump)
	}
	return r.embedded(dump) //nolint:contextcheck // the store closes before it returns
}

// embedded rebuilds the state of the data folder.
func (r *Rebuild) embedded(dump *features.Dump) (string, error) {
	unlock, err := lockData(r.Store.Data)
	if err != nil {
		return "", err
	}
	defer unlock()
	if dump == nil {
		err = embedded.RemoveCheckpoint(r.Store.Data)
	} else {
		err = setBase(r.Store.Data, dump)
	}
	if err != nil {
		return "", err
	}
	store, err := embedded.Open(r.Store.Data, r.Config.State,
		embedded.Options{Ingest: ingest.Options{Log: r.Log}})
	if err != nil {
		return "", err
	}
	stats := store.Stats()
	return fmt.Sprintf("%s, %s, %s, up to record %d", plural.Count(stats.Items, "item"),
		plural.Count(stats.Users, "user"), plural.Count(stats.FieldValues, "field value"),
		stats.Seq), store.Close()
}

// setBase makes the snapshot the state that the folder's log adds to.
func setBase(data string, dump *features.Dump) error {
	replica, err := eventlog.Replica(ingest.LogDir(data))
	if err != nil {
		return err
	}
	state, err := dump.State(replica)
	if err != nil {
		return err
	}
	return embedded.SetBase(data, state)
}

// redis rebuilds the state in Redis from the logs of the replicas that do not run. A replica that
// runs sends its own log.
func (r *Rebuild) redis(ctx context.Context, dump *features.Dump) (_ string, err error) {
	conn, err := r.Store.connectChecked(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	folders, unlock, err := r.lockFolders()
	if err != nil {
		return "", err
	}
	defer unlock()
	written := 0
	err = redis.Rebuild(ctx, conn, r.Config.State, dump, folders, func(done int) {
		written = done
		if r.Progress != nil {
			r.Progress(done)
		}
	})
	return fmt.Sprintf("users and items in Redis: %d", written), err
}

// lockFolders locks the data folders whose logs are read. The caller calls unlock.
func (r *Rebuild) lockFolders() (folders []string, unlock func(), err error) {
	var locks []func()
	unlock = func() {
		for _, release := range locks {
			release()
		}
	}
	for _, dir := range append([]string{r.Store.Data}, r.Logs...) {
		if _, err := os.Stat(ingest.LogDir(dir)); err != nil {
			r.skip(dir, "it has no event log")
			continue
		}
		if pid := ingest.LockHolder(dir); pid != "" {
			r.skip(dir, "process "+pid+" runs on it and sends its own log")
			continue
		}
		release, err := ingest.Lock(dir)
		if err != nil {
			unlock()
			return nil, nil, err
		}
		locks, folders = append(locks, release), append(folders, dir)
	}
	return folders, unlock, nil
}

func (r *Rebuild) skip(dir, reason string) {
	if r.Skipped != nil {
		r.Skipped(dir, reason)
	}
}
