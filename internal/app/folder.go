package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// CheckData returns an error unless there is a folder at the path, which a command needs that only
// reads data. The flag names the path on the command line.
func CheckData(flag, path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return notFolder(flag, path)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no data folder %s. Name another one with %s, or fill it with "+
			"relish demo or relish import", path, flag)
	}
	return err
}

// WillCreateData reports whether the data folder is not there yet, so that a command that writes to
// it creates it. A path that is not a folder is an error.
func WillCreateData(path string) (bool, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return false, notFolder("--data", path)
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	}
	return false, err
}

func notFolder(flag, path string) error {
	return fmt.Errorf("%s %s is a file, not a folder", flag, path)
}
