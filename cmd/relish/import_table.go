package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"relish/features/event"
	"relish/features/external"
	"relish/features/ingest"
	"relish/features/snapshot"
	"relish/internal/config"
	"relish/internal/sandbox"
)

// tableTime is how long an import waits for the running service to take it.
const tableTime = 30 * time.Second

// table imports one file of feature columns.
func (c *importCmd) table(ctx context.Context, cfg *config.Config) error {
	if err := event.CheckTableName(c.Name); err != nil {
		return fmt.Errorf("%w: --name %q: %v", errUsage, c.Name, err)
	}
	if len(c.Files) != 1 || c.Files[0] == "-" {
		return fmt.Errorf("%w: an arrow import takes one file", errUsage)
	}
	unlock, err := ingest.Lock(external.Dir(c.Data)) // one import at a time
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(external.Dir(c.Data), "import")
	info, err := convertApart(ctx, c.Files[0], path)
	if err != nil {
		return fmt.Errorf("%s is refused, %s stays as it is: %w", c.Files[0], c.Name, err)
	}
	v := external.Version{Digest: info.SHA256, Imported: time.Now().UnixMilli()}
	if err := c.shelve(ctx, cfg, v, path); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(map[string]any{"table": c.Name, "rows": info.Rows, "digest": v.Digest})
	}
	fmt.Printf("table %s: %d rows, digest %s\n", c.Name, info.Rows, v.Digest)
	return nil
}

// shelve puts the version where servers look for it, and sees to it that a data folder's own has taken it.
func (c *importCmd) shelve(ctx context.Context, cfg *config.Config, v external.Version, path string) (err error) {
	conn, err := c.connect()
	if err != nil {
		return err
	}
	if conn != nil {
		err := shelf(c.Data, conn, cfg).Put(ctx, c.Name, v, path)
		return errors.Join(err, conn.Close())
	}
	if err := external.FolderRepository(c.Data).Put(ctx, c.Name, v, path); err != nil {
		return err
	}
	if ingest.LockHolder(c.Data) != "" {
		return c.await(ctx, v)
	}
	e, err := openEngine(c.storeFlags, &encoderFlags{NoText: true}, cfg, storeOptions{onItem: noHook}, c.logger())
	if err != nil {
		return err
	}
	defer e.closeTimed(&err)
	return e.tables.Sync(ctx)
}

// await waits until the service that runs on the folder uses the version.
func (c *importCmd) await(ctx context.Context, v external.Version) error {
	ctx, cancel := context.WithTimeout(ctx, tableTime)
	defer cancel()
	for {
		taken, err := external.InUse(c.Data)
		if err != nil {
			return err
		}
		if taken[c.Name] == v {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("the table is in the data folder, but the service that runs there has not taken it; its log says why")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// convertPatience is how long a conversion may take.
const convertPatience = time.Hour

// convertApart converts a file in a process of its own: the Arrow library trusts the lengths that a file
// declares, and what it does to a damaged one must not happen to anybody else.
func convertApart(ctx context.Context, in, out string) (info snapshot.FileInfo, err error) {
	if _, err := os.Stat(in); err != nil {
		return info, err
	}
	answer, err := sandbox.Run(ctx, convertPatience, "convert-table", in, out)
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(answer, &info)
}

// convertCmd is the process that convertApart starts.
type convertCmd struct {
	In  string `arg:""`
	Out string `arg:""`
}

// Memory that a conversion may take: the process itself, and some times the file.
const (
	convertBase  = 2 << 30
	convertTimes = 16
)

// Run converts under a limit on its memory.
func (c *convertCmd) Run() error {
	st, err := os.Stat(c.In)
	if err != nil {
		return err
	}
	if err := sandbox.Limit(uint64(convertBase+convertTimes*st.Size()), 0); err != nil {
		return err
	}
	info, err := snapshot.ConvertTable(c.In, c.Out)
	if err != nil {
		return err
	}
	return printJSON(info)
}
