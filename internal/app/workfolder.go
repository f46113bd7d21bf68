package app

import (
	"errors"
	"os"
	"path/filepath"

	"relish/features/ingest"
)

// workFolderPattern names the folders of newWorkFolder in a data folder.
const workFolderPattern = "work.tmp-*"

// newWorkFolder makes a folder for temporary files of this process and returns its path. It lies in
// the data folder, whose disk has room for files as large as the log; the temporary folder of the
// system often is in memory. remove removes it. The folders of processes that were killed are
// removed first.
func newWorkFolder(data string) (dir string, remove func(), err error) {
	old, err := filepath.Glob(filepath.Join(data, workFolderPattern))
	if err != nil {
		return "", nil, err
	}
	for _, dir := range old {
		if _, err := os.Stat(filepath.Join(dir, "lock")); err != nil {
			continue // another process is just making it
		}
		if unlock, err := ingest.Lock(dir); err == nil {
			err = os.RemoveAll(dir)
			unlock()
			if err != nil {
				return "", nil, err
			}
		}
	}
	if dir, err = os.MkdirTemp(data, workFolderPattern); err != nil {
		return "", nil, err
	}
	unlock, err := ingest.Lock(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, func() { os.RemoveAll(dir); unlock() }, nil
}
