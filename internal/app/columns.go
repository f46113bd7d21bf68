package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"relish/features/event"
	"relish/features/external"
	"relish/features/ingest"
	"relish/features/redis"
	"relish/internal/arrowfile"
	"relish/internal/config"
	"relish/internal/redisconn"
	"relish/internal/sandbox"
)

// ColumnsImport imports an Arrow file as an external table. All fields are required.
type ColumnsImport struct {
	Store  StoreOptions
	Config *config.Config
	Table  string // name of the table; a new import replaces the older one
	File   string // Arrow IPC file of feature columns for users or items
	Log    *slog.Logger
}

// ImportedColumns describes an import.
type ImportedColumns struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	Digest string `json:"digest"` // SHA-256 of the converted file
}

// tableRepository is where servers look for external tables: in Redis, or in the data folder.
func tableRepository(data string, conn *redisconn.Conn, cfg *config.Config) external.Repository {
	if conn != nil {
		return redis.NewRepository(conn, cfg.State.MaxAgeDuration())
	}
	return external.FolderRepository(data)
}

// Run converts the file, publishes it as the newest version of the table, and waits until the data
// folder uses it. It works beside a running service. If the file is damaged, the older version
// stays in use.
func (i *ColumnsImport) Run(ctx context.Context) (*ImportedColumns, error) {
	if err := event.CheckTableName(i.Table); err != nil {
		return nil, Usagef("--name %q: %w", i.Table, err)
	}
	unlock, err := ingest.Lock(external.Dir(i.Store.Data)) // one import at a time
	if errors.Is(err, ingest.ErrLocked) {
		return nil, fmt.Errorf("another import is running: %w; wait until it has ended", err)
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	path := filepath.Join(external.Dir(i.Store.Data), "import")
	info, err := ConvertColumns(ctx, i.File, path)
	if err != nil {
		return nil, fmt.Errorf("%s was not imported, and table %s stays as it is: %w", i.File,
			i.Table, err)
	}
	version := external.Version{Digest: info.SHA256, Imported: time.Now().UnixMilli()}
	if err := i.publish(ctx, version, path); err != nil {
		return nil, err
	}
	return &ImportedColumns{i.Table, info.Rows, version.Digest}, nil
}

// publish puts the version into the repository. Without Redis it also makes the data folder use it,
// by the service that runs on the folder or by itself.
func (i *ColumnsImport) publish(ctx context.Context, v external.Version, path string) (err error) {
	conn, err := i.Store.connectChecked(ctx)
	if err != nil {
		return err
	}
	err = tableRepository(i.Store.Data, conn, i.Config).Put(ctx, i.Table, v, path)
	if conn != nil {
		return errors.Join(err, conn.Close())
	}
	if err != nil {
		return err
	}
	if ingest.LockHolder(i.Store.Data) != "" {
		return i.waitForService(ctx, v)
	}
	e, err := OpenEngine(ctx, EngineOptions{
		Store: i.Store, Encoder: EncoderOptions{NoText: true}, Config: i.Config, Log: i.Log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	return e.External.Sync(ctx)
}

const (
	// serviceTimeout is how long an import waits for the running service to use the table.
	serviceTimeout = 30 * time.Second
	// servicePoll is the time between two looks. The service looks for new tables every second.
	servicePoll = 100 * time.Millisecond
)

// waitForService waits until the service that runs on the data folder uses the version.
func (i *ColumnsImport) waitForService(ctx context.Context, v external.Version) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	for {
		inUse, err := external.InUse(i.Store.Data)
		if err != nil {
			return err
		}
		if inUse[i.Table] == v {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("table %s is in the data folder, but the service that runs there "+
				"has not loaded it within %s. See the log of the service for the reason",
				i.Table, serviceTimeout)
		case <-time.After(servicePoll):
		}
	}
}

// Limits of the child process that converts a file.
const (
	convertDeadline     = time.Hour
	convertMemory       = 2 << 30 // bytes of address space for the process itself
	convertMemoryFactor = 16      // and this many times the size of the file
)

// ConvertColumns converts an Arrow file into the form that servers map into memory. It does so in a
// child process, because the Arrow library trusts the lengths that a file declares: a damaged file
// can make it crash or allocate without bound.
func ConvertColumns(ctx context.Context, in, out string) (info arrowfile.Info, err error) {
	if _, err := os.Stat(in); err != nil {
		return info, err
	}
	answer, err := sandbox.Run(ctx, convertDeadline, "convert-table", in, out)
	if err == nil {
		err = json.Unmarshal(answer, &info)
	}
	return info, err
}

// ConvertColumnsChild is what the child process of ConvertColumns does.
func ConvertColumnsChild(in, out string) (info arrowfile.Info, err error) {
	stat, err := os.Stat(in)
	if err != nil {
		return info, err
	}
	if err := sandbox.Limit(uint64(convertMemory+convertMemoryFactor*stat.Size()), 0); err != nil {
		return info, err
	}
	return external.ConvertTable(in, out)
}
