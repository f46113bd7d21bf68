package durabletest

import (
	"math/rand/v2"
	"os"
	"path/filepath"
)

// PowerLoss writes into the folder to what a power loss leaves, and returns it as a disk. Of what
// was not synced, some is lost: sectors of files, and changes of names.
func (d *Disk) PowerLoss(rng *rand.Rand, to string) (*Disk, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := New(to)
	inOrder := rng.IntN(2) == 0 // the newest changes are lost; otherwise any of them
	for _, c := range d.renames {
		if rng.IntN(2) == 0 {
			c.apply(d.synced)
		} else if inOrder {
			break
		}
	}
	contents := map[*node][]byte{}
	for name, n := range d.synced {
		if _, known := contents[n]; !known {
			contents[n] = n.afterPowerLoss(rng, inOrder)
		}
		after.live[name] = &node{synced: contents[n]}
		after.synced[name] = after.live[name]
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, contents[n], 0o644); err != nil {
			return nil, err
		}
	}
	return after, nil
}

// sectorBytes is what a disk writes at once.
const sectorBytes = 512

// afterPowerLoss returns the synced bytes with some of the later changes.
func (n *node) afterPowerLoss(rng *rand.Rand, inOrder bool) []byte {
	data := append([]byte(nil), n.synced...)
	for _, c := range n.dirty {
		if c.data == nil {
			if rng.IntN(2) == 0 {
				data = resize(data, min(c.off, int64(len(data))))
			}
			continue
		}
		for at := 0; at < len(c.data); at += sectorBytes {
			end := min(at+sectorBytes, len(c.data))
			switch {
			case rng.IntN(3) > 0:
				data = write(data, change{c.off + int64(at), c.data[at:end]})
			case inOrder:
				// The last sector that arrives may be incomplete.
				end = at + rng.IntN(end-at+1)
				return write(data, change{c.off + int64(at), c.data[at:end]})
			}
		}
	}
	return data
}

func write(data []byte, c change) []byte {
	data = resize(data, max(int64(len(data)), c.off+int64(len(c.data))))
	copy(data[c.off:], c.data)
	return data
}

func resize(data []byte, size int64) []byte {
	for int64(len(data)) < size {
		data = append(data, 0)
	}
	return data[:size]
}
