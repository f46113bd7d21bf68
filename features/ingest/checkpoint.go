package ingest

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"relish/features"
	"relish/features/eventlog"
	"relish/internal/durable"
)

// The file "journal" is the ingester's own checkpoint, beside the checkpoint of the store. It holds
// the sequence that it stands for and the id of the log with a CRC-32C, the remembered event ids,
// and the pending erasures as JSON, with encrypted hashes of the users.
func (g *Ingester) checkpointPath() string { return filepath.Join(g.dir, "journal") }

// errOtherLog says that a file came with another event log.
var errOtherLog = errors.New("it belongs to another event log")

// loadCheckpoint loads what the checkpoint remembers. Without an intact one the whole log is read.
func (g *Ingester) loadCheckpoint() error {
	log, err := eventlog.Replica(LogDir(g.dir))
	if err != nil {
		return err
	}
	err = g.readCheckpoint()
	if err == nil && g.replica != "" && log != "" && g.replica != log {
		err = errOtherLog
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		g.opt.Log.Warn(
			"cannot use the checkpoint of event ids; reading the whole log instead", "error", err,
		)
	}
	g.ids, g.erase.encrypted, g.replica, g.seq = newRecentIDs(g.opt.DedupeIDs), nil, "", 0
	return nil
}

func (g *Ingester) readCheckpoint() error {
	f, err := os.Open(g.checkpointPath())
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	if err := g.readCheckpointHead(in); err != nil {
		return err
	}
	g.ids = newRecentIDs(g.opt.DedupeIDs)
	if err := g.ids.read(in); err != nil {
		return err
	}
	return json.NewDecoder(in).Decode(&g.erase.encrypted)
}

// readCheckpointHead reads the sequence and the replica. Older versions wrote no replica.
func (g *Ingester) readCheckpointHead(in io.Reader) error {
	head := make([]byte, 20)
	for _, size := range []int{12, 20} {
		read := 0
		if size == 20 {
			read = 12
		}
		if _, err := io.ReadFull(in, head[read:size]); err != nil {
			return features.ErrCorrupt
		}
		sum := binary.LittleEndian.Uint32(head[size-4:])
		if crc32.Checksum(head[:size-4], castagnoli) != sum {
			continue
		}
		g.seq = binary.LittleEndian.Uint64(head)
		if size == 20 {
			g.replica = hex.EncodeToString(head[8:16])
		}
		return nil
	}
	return features.ErrCorrupt
}

// checkpoint saves the store's state, and then its own file. Each file is written in full before it
// replaces the old one.
func (g *Ingester) checkpoint() error {
	g.checkpointMu.Lock()
	defer g.checkpointMu.Unlock()
	if err := g.owned(); err != nil {
		return err
	}
	if g.opt.Save != nil {
		if err := g.opt.Save(); err != nil {
			return err
		}
	}
	return g.saveIDs()
}

// saveIDs writes the ingester's own file. Callers hold checkpointMu.
func (g *Ingester) saveIDs() error {
	return durable.Replace(g.opt.FS, g.checkpointPath(), g.writeCheckpoint)
}

// beforeDrop saves what the log will not have any more when retention has dropped the records
// before first: the store's part, and the ids and erasures of these records.
func (g *Ingester) beforeDrop(first uint64) error {
	if err := g.owned(); err != nil {
		return err
	}
	if g.opt.BeforeDrop != nil {
		if err := g.opt.BeforeDrop(first); err != nil {
			return err
		}
	}
	g.checkpointMu.Lock()
	defer g.checkpointMu.Unlock()
	return g.saveIDs()
}

// writeCheckpoint writes what is remembered as of its begin. It holds the lock for short steps
// only, and never while it writes, so that events are taken in meanwhile.
func (g *Ingester) writeCheckpoint(w io.Writer) error {
	g.mu.Lock()
	g.erase.mu.Lock()
	seq, ids, pending := g.seq, g.ids.beginCopy(), g.erase.encrypt(g.log.UserKeys())
	g.erase.mu.Unlock()
	g.mu.Unlock()
	for more := true; more; {
		g.mu.Lock()
		more = ids.step()
		g.mu.Unlock()
	}
	head := binary.LittleEndian.AppendUint64(nil, seq)
	replica, err := hex.DecodeString(g.replica)
	if err != nil {
		return err
	}
	head = append(head, replica...)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	if _, err := w.Write(head); err != nil {
		return err
	}
	if err := ids.write(w); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(pending)
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
