package app

import (
	"context"
	"io"
	"os"
	"time"

	"relish/features/importfile/parquetrows"
	"relish/internal/sandbox"
)

// Limits of the child process that reads a Parquet file.
const (
	parquetDeadline     = 6 * time.Hour // it waits for the import
	parquetProcessor    = time.Hour
	parquetMemory       = 2 << 30 // bytes of address space for the process itself
	parquetMemoryFactor = 4       // and this many times the size of the file
)

// OpenParquet returns a function that opens a Parquet file in a child process, for
// importfile.Options. The Parquet library trusts much of what a file says: a damaged file can make
// it crash or allocate without bound.
func OpenParquet(ctx context.Context) func(path string) (io.ReadCloser, error) {
	return func(path string) (io.ReadCloser, error) {
		return sandbox.Start(ctx, parquetDeadline, "read-parquet", path)
	}
}

// ReadParquetChild is what the child process of OpenParquet does.
func ReadParquetChild(path string, out io.Writer) error {
	stat, err := os.Stat(path)
	if err != nil {
		return err
	}
	memory := uint64(parquetMemory + parquetMemoryFactor*stat.Size())
	if err := sandbox.Limit(memory, parquetProcessor); err != nil {
		return err
	}
	return parquetrows.Write(path, out)
}
