package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"relish/features/event"
	"relish/internal/durable"
	"relish/ranker"
)

// repeats remembers which records of this replica's log are repeats of events that another replica
// counted: a client that got no answer from one replica sends its event to another one. Claims in
// Redis say so for a while only. A replay of the log must know it for good, or the event would
// count twice.
//
// The file "repeats" holds a row for each such record: replica and sequence, little-endian, with a
// CRC-32C. A row with a wrong checksum, as a crash may leave one, is ignored, and so are rows of
// another log. Only the syncer uses it.
type repeats struct {
	path    string
	replica uint64
	seqs    map[uint64]bool
}

const repeatSize = 8 + 8 + 4

// openRepeats reads the file in a data folder. It leaves out records before first, which the log
// does not have any more.
func openRepeats(dir string, replica, first uint64) (*repeats, error) {
	r := &repeats{path: filepath.Join(dir, "repeats"), replica: replica, seqs: map[uint64]bool{}}
	data, err := os.ReadFile(r.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for ; len(data) >= repeatSize; data = data[repeatSize:] {
		row := data[:repeatSize]
		seq := binary.LittleEndian.Uint64(row[8:])
		if binary.LittleEndian.Uint64(row) == replica && seq >= first &&
			binary.LittleEndian.Uint32(row[16:]) == crc32.Checksum(row[:16], castagnoli) {
			r.seqs[seq] = true
		}
	}
	return r, nil
}

// has reports whether the record is a repeat.
func (r *repeats) has(seq uint64) bool { return r.seqs[seq] }

// add remembers records as repeats. It returns when the file has them, because Redis must not be
// told that they are done before. After an error they are remembered until the process ends.
func (r *repeats) add(seqs []uint64) error {
	if len(seqs) == 0 {
		return nil
	}
	var rows []byte
	for _, seq := range seqs {
		r.seqs[seq] = true
		start := len(rows)
		rows = binary.LittleEndian.AppendUint64(rows, r.replica)
		rows = binary.LittleEndian.AppendUint64(rows, seq)
		rows = binary.LittleEndian.AppendUint32(rows, crc32.Checksum(rows[start:], castagnoli))
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	end, err := f.Seek(0, 2)
	if err == nil {
		_, err = f.WriteAt(rows, end-end%repeatSize) // over a torn row
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && end == 0 {
		err = durable.Disk.SyncDir(filepath.Dir(r.path))
	}
	return err
}

// errOvercounted says that this replica's part of the counters includes an event that another
// replica counts now: Redis lost the claim, and the other replica got the event before this one
// applied it again.
var errOvercounted = errors.New("another replica counts an event that this one had counted")

// claim drops the records whose event was counted before by another replica or an older record.
func (b *batch) claim(ctx context.Context) error {
	b.records = slices.DeleteFunc(slices.Clone(b.records), func(rec event.Record) bool {
		return b.s.repeats.has(rec.Seq)
	})
	pipe := b.s.conn.Pipeline()
	cmds := make([]*redis.StatusCmd, len(b.records))
	mine := make([]string, len(b.records))
	setIfAbsent := redis.SetArgs{Mode: "NX", Get: true, TTL: b.s.opt.ClaimTTL}
	for i := range b.records {
		mine[i] = claimValue(b.part.replicaName(), &b.records[i])
		cmds[i] = pipe.SetArgs(ctx, b.s.keys.claim(&b.records[i].Event), mine[i], setIfAbsent)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	kept := b.records[:0:0]
	var repeated []uint64
	overcounted := false
	for i, c := range cmds {
		claimed, err := c.Result()
		switch {
		// A claim of another type is none. An erasure is due at every replica.
		case isAbsent(err), err == nil && sameRecord(claimed, mine[i]),
			err == nil && b.records[i].Event.Kind == ranker.EventErase:
			kept = append(kept, b.records[i])
		case err != nil:
			return err
		default:
			if !sameContent(claimed, mine[i]) {
				b.s.stats.idConflicts.Add(1)
			}
			repeated = append(repeated, b.records[i].Seq)
			overcounted = overcounted || b.part.includes(b.records[i].Seq)
		}
	}
	b.records = kept
	if err := b.s.repeats.add(repeated); err != nil {
		b.s.log.Error("cannot note which events another replica has counted; a later replay of "+
			"the log may count them twice", "events", len(repeated), "error", err)
	}
	if overcounted {
		return errOvercounted
	}
	return nil
}

// claimValue names the record that counts an event, and the event's content: REPLICA:SEQ:CONTENT. A
// replica that crashed after the claim recognises its own claim by the record. The content tells
// that two replicas accepted different events with one id, of which only the first counts.
func claimValue(replica string, rec *event.Record) string {
	content := event.IdentityOf(&rec.Event, rec.Arrival).Content
	return fmt.Sprintf("%s:%d:%016x", replica, rec.Seq, content)
}

// splitClaim returns the record and the content of a claim. Earlier versions wrote no content.
func splitClaim(claim string) (record string, content uint64) {
	parts := strings.SplitN(claim, ":", 3)
	if len(parts) < 3 {
		return claim, 0
	}
	content, _ = strconv.ParseUint(parts[2], 16, 64) // 0, unknown, if it is damaged
	return parts[0] + ":" + parts[1], content
}

func sameRecord(a, b string) bool {
	recordA, _ := splitClaim(a)
	recordB, _ := splitClaim(b)
	return recordA == recordB
}

func sameContent(a, b string) bool {
	_, contentA := splitClaim(a)
	_, contentB := splitClaim(b)
	return event.Identity{Content: contentA}.Repeats(event.Identity{Content: contentB})
}
