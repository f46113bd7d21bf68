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

	"github.com/google/renameio/v2"

	"relish/features"
	"relish/features/event"
	"relish/features/eventlog"
)

// The journal's own checkpoint, beside the store's: the sequence it stands for with a CRC-32C, the
// remembered event ids, and the pending erasures as JSON.
func (j *Ingester) checkpointPath() string { return filepath.Join(j.dir, "journal") }

// replayBatch is how many of the log's records Apply gets at once.
const replayBatch = 1000

// restore loads the checkpoint, if it is sound, and looks at the log's records after it.
func (j *Ingester) restore() error {
	if err := j.loadCheckpoint(); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			j.opt.Log.Warn("the journal's checkpoint is not used; reading the log", "reason", err)
		}
		j.ids, j.erase.pending, j.seq = newRecentIDs(j.opt.DedupeIDs), nil, 0
	}
	var batch []event.Record
	flush := func() {
		if len(batch) > 0 {
			j.opt.Apply(batch)
			batch = batch[:0]
		}
	}
	for rec, err := range eventlog.Read(LogDir(j.dir), min(j.seq, j.opt.AppliedSeq)+1) {
		var d *eventlog.Damage
		if errors.As(err, &d) {
			j.opt.Log.Error("the event log is damaged; serving goes on without these records", "file", d.File, "offset", d.Offset, "reason", d.Reason)
			continue
		}
		if err != nil {
			return err
		}
		if rec.Seq > j.seq {
			j.observe(&rec)
		}
		if rec.Seq > j.opt.AppliedSeq {
			if batch = append(batch, rec); len(batch) == replayBatch {
				flush()
			}
		}
	}
	flush()
	return j.erase.load(j.dir)
}

func (j *Ingester) loadCheckpoint() error {
	f, err := os.Open(j.checkpointPath())
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	head := make([]byte, 12)
	if _, err := io.ReadFull(in, head); err != nil || crc32.Checksum(head[:8], castagnoli) != binary.LittleEndian.Uint32(head[8:]) {
		return features.ErrCorrupt
	}
	j.seq, j.ids = binary.LittleEndian.Uint64(head), newRecentIDs(j.opt.DedupeIDs)
	if err := j.ids.read(in); err != nil {
		return err
	}
	return json.NewDecoder(in).Decode(&j.erase.pending)
}

// checkpoint saves the store's part, then the journal's, each beside the old one and put in its place.
func (j *Ingester) checkpoint() error {
	j.checkpointMu.Lock()
	defer j.checkpointMu.Unlock()
	if j.opt.Save != nil {
		if err := j.opt.Save(); err != nil {
			return err
		}
	}
	f, err := renameio.NewPendingFile(j.checkpointPath(), renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := j.writeCheckpoint(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

func (j *Ingester) writeCheckpoint(w io.Writer) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	head := binary.LittleEndian.AppendUint64(nil, j.seq)
	if _, err := w.Write(binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))); err != nil {
		return err
	}
	if err := j.ids.write(w); err != nil {
		return err
	}
	j.erase.mu.Lock()
	defer j.erase.mu.Unlock()
	return json.NewEncoder(w).Encode(j.erase.pending)
}

// checkpointIfNew writes a checkpoint when there are new records.
func (j *Ingester) checkpointIfNew(context.Context) {
	seq := j.LastSeq()
	if seq == j.savedSeq.Swap(seq) {
		return
	}
	if err := j.checkpoint(); err != nil {
		j.opt.Log.Error("checkpoint failed; the next start takes longer", "reason", err)
	}
}
