package ingest

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
	"relish/internal/durable"
)

// The file "journal" is the ingester's own checkpoint, beside the checkpoint of the store. It holds
// the sequence that it stands for with a CRC-32C, the remembered event ids, and the pending
// erasures as JSON.
func (g *Ingester) checkpointPath() string { return filepath.Join(g.dir, "journal") }

// replayBatch is the number of records that Options.Apply gets at once during Open.
const replayBatch = 1000

// restore loads the checkpoint, if it is intact, and reads the log's records after it.
func (g *Ingester) restore() error {
	if err := g.loadCheckpoint(); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			g.opt.Log.Warn(
				"cannot use the checkpoint of event ids; reading the whole log instead", "error",
				err,
			)
		}
		g.ids, g.erase.pending, g.seq = newRecentIDs(g.opt.DedupeIDs), nil, 0
	}
	var batch []event.Record
	flush := func() {
		if len(batch) > 0 {
			g.opt.Apply(batch)
			batch = batch[:0]
		}
	}
	for rec, err := range eventlog.Read(LogDir(g.dir), min(g.seq, g.opt.AppliedSeq)+1) {
		var d *eventlog.Damage
		if errors.As(err, &d) {
			g.opt.Log.Error(
				"the event log is damaged; continuing without the damaged records", "file", d.File,
				"offset", d.Offset, "reason", d.Reason,
			)
			continue
		}
		if err != nil {
			return err
		}
		if rec.Seq > g.seq {
			g.ids.admit(event.IdentityOf(&rec.Event, rec.Arrival))
			g.observe(&rec)
		}
		if rec.Seq > g.opt.AppliedSeq {
			if batch = append(batch, rec); len(batch) == replayBatch {
				flush()
			}
		}
	}
	flush()
	return g.erase.load(g.dir)
}

func (g *Ingester) loadCheckpoint() error {
	f, err := os.Open(g.checkpointPath())
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	head := make([]byte, 12)
	if _, err := io.ReadFull(in, head); err != nil ||
		crc32.Checksum(head[:8], castagnoli) != binary.LittleEndian.Uint32(head[8:]) {
		return features.ErrCorrupt
	}
	g.seq, g.ids = binary.LittleEndian.Uint64(head), newRecentIDs(g.opt.DedupeIDs)
	if err := g.ids.read(in); err != nil {
		return err
	}
	return json.NewDecoder(in).Decode(&g.erase.pending)
}

// checkpoint saves the store's state, and then its own file. Each file is written in full before it
// replaces the old one.
func (g *Ingester) checkpoint() error {
	g.checkpointMu.Lock()
	defer g.checkpointMu.Unlock()
	if g.opt.Save != nil {
		if err := g.opt.Save(); err != nil {
			return err
		}
	}
	return durable.Replace(g.opt.FS, g.checkpointPath(), g.writeCheckpoint)
}

func (g *Ingester) writeCheckpoint(w io.Writer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	head := binary.LittleEndian.AppendUint64(nil, g.seq)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	if _, err := w.Write(head); err != nil {
		return err
	}
	if err := g.ids.write(w); err != nil {
		return err
	}
	g.erase.mu.Lock()
	defer g.erase.mu.Unlock()
	return json.NewEncoder(w).Encode(g.erase.pending)
}

// checkpointIfNew writes a checkpoint if there are new records.
func (g *Ingester) checkpointIfNew(context.Context) {
	seq := g.LastSeq()
	if seq == g.savedSeq.Swap(seq) {
		return
	}
	if err := g.checkpoint(); err != nil {
		g.opt.Log.Error("cannot write the checkpoint; the next start takes longer", "error", err)
	}
}
