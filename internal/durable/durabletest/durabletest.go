// Package durabletest is a file system for tests: it fails on request, and it tells what a power
// loss leaves.
package durabletest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"relish/internal/durable"
)

// ErrStopped is the error of every operation after the one that StopAfter names.
var ErrStopped = errors.New("the process was killed")

// Faults say which operations fail.
type Faults struct {
	Write    error // after half of the bytes
	Sync     error // and drops what it should have made durable, as Linux may do
	Truncate error
}

// Disk is a durable.FS over a folder. The folder holds what processes see (the page cache); Disk
// remembers what was synced. It is safe for concurrent use.
type Disk struct {
	root string

	mu      sync.Mutex
	live    map[string]*node // by name relative to root, as processes see the folder
	synced  map[string]*node // by name, as of the last SyncDir of its folder
	renames []nameChange     // changes of names that no SyncDir has made durable, in order
	faults  Faults
	free    int64
	ops     int
	stop    int // operations after which all fail; -1: never
}

// node is a file, whatever its names are.
type node struct {
	synced []byte
	dirty  []change // since the last sync, in order
}

// change is a write (data at off) or a truncation (data is nil, to off).
type change struct {
	off  int64
	data []byte
}

// nameChange gives a name to the file n and takes one away; "" stands for none. Both happen or
// neither.
type nameChange struct {
	given, taken string
	n            *node
}

// folder returns the folder whose SyncDir makes the change durable.
func (c *nameChange) folder() string { return filepath.Dir(max(c.given, c.taken)) }

func (c *nameChange) apply(names map[string]*node) {
	if c.taken != "" {
		delete(names, c.taken)
	}
	if c.given != "" {
		names[c.given] = c.n
	}
}

// New returns a disk over the folder, in which there is nothing yet.
func New(root string) *Disk {
	return &Disk{
		root: root, free: diskBytes, stop: -1, live: map[string]*node{}, synced: map[string]*node{},
	}
}

// diskBytes is the size of a Disk for Space. Nothing fails when more is written.
const diskBytes = 1 << 40

// SetFree sets what Space says is free.
func (d *Disk) SetFree(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = bytes
}

// Space implements durable.FS.
func (d *Disk) Space(string) (free, total int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, diskBytes, nil
}

// SetFaults makes the following operations fail.
func (d *Disk) SetFaults(f Faults) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = f
}

// StopAfter makes all operations after the next n fail without any effect, as if the process had
// been killed; -1 ends that.
func (d *Disk) StopAfter(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop = -1
	if n >= 0 {
		d.stop = d.ops + n
	}
}

// Ops returns the number of operations so far.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// begin counts an operation. The caller holds mu.
func (d *Disk) begin() error {
	if d.stop >= 0 && d.ops >= d.stop {
		return ErrStopped
	}
	d.ops++
	return nil
}

func (d *Disk) name(path string) string {
	name, err := filepath.Rel(d.root, path)
	if err != nil || strings.HasPrefix(name, "..") {
		panic("durabletest: " + path + " is not in " + d.root)
	}
	return name
}

func (d *Disk) change(c nameChange) {
	d.renames = append(d.renames, c)
	c.apply(d.live)
}

// Create implements durable.FS.
func (d *Disk) Create(path string) (durable.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(); err != nil {
		return nil, err
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	n := d.live[d.name(path)]
	if n == nil {
		n = &node{}
		d.change(nameChange{given: d.name(path), n: n})
	} else {
		n.dirty = append(n.dirty, change{})
	}
	return &file{File: f, d: d, n: n}, nil
}

// Open implements durable.FS.
func (d *Disk) Open(path string) (durable.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &file{File: f, d: d, n: d.live[d.name(path)]}, nil
}

// Rename implements durable.FS.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	from, to = d.name(from), d.name(to)
	d.change(nameChange{given: to, taken: from, n: d.live[from]})
	return nil
}

// Link implements durable.FS.
func (d *Disk) Link(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(); err != nil {
		return err
	}
	if err := os.Link(from, to); err != nil {
		return err
	}
	d.change(nameChange{given: d.name(to), n: d.live[d.name(from)]})
	return nil
}

// Remove implements durable.FS.
func (d *Disk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	d.change(nameChange{taken: d.name(path)})
	return nil
}

// SyncDir implements durable.FS.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(); err != nil {
		return err
	}
	if d.faults.Sync != nil {
		return d.faults.Sync
	}
	var rest []nameChange
	for _, c := range d.renames {
		if c.folder() == d.name(dir) {
			c.apply(d.synced)
		} else {
			rest = append(rest, c)
		}
	}
	d.renames = rest
	return nil
}

// file is an open file of a Disk.
type file struct {
	*os.File
	d   *Disk
	n   *node
	off int64
}

// Write implements durable.File.
func (f *file) Write(p []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.begin(); err != nil {
		return 0, err
	}
	fail := f.d.faults.Write
	if fail != nil {
		p = p[:len(p)/2]
	}
	f.n.dirty = append(f.n.dirty, change{f.off, append([]byte{}, p...)})
	f.off += int64(len(p))
	n, err := f.File.Write(p)
	return n, errors.Join(err, fail)
}

// Truncate implements durable.File.
func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.begin(); err != nil {
		return err
	}
	if f.d.faults.Truncate != nil {
		return f.d.faults.Truncate
	}
	f.n.dirty = append(f.n.dirty, change{off: size})
	return f.File.Truncate(size)
}

// Sync implements durable.File.
func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.begin(); err != nil {
		return err
	}
	dirty := f.n.dirty
	f.n.dirty = nil
	if f.d.faults.Sync != nil {
		return f.d.faults.Sync
	}
	for _, c := range dirty {
		if c.data == nil {
			f.n.synced = resize(f.n.synced, min(c.off, int64(len(f.n.synced))))
		} else {
			f.n.synced = write(f.n.synced, c)
		}
	}
	return nil
}
