package external

import (
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"relish/features"
	"relish/internal/arrowfile"
)

// LoadTable reads a file that ConvertTable wrote. It fails before it decodes anything if the
// SHA-256 of the file, in hex, is not sum.
func LoadTable(path, sum string) (*features.ExternalTable, error) {
	dir, name := filepath.Split(path)
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	info := arrowfile.Info{Name: name, Bytes: st.Size(), SHA256: sum}
	if err := arrowfile.Verify(dir, info); err != nil {
		return nil, err
	}
	var key string
	var ids, names []string
	var values [][]float32
	err = arrowfile.Read(dir, name, nil, func(rec arrow.Record) error {
		if names == nil {
			fields := rec.Schema().Fields()
			key = fields[0].Name
			for _, f := range fields[1:] {
				names = append(names, f.Name)
			}
			values = make([][]float32, len(names))
		}
		col := arrowfile.Strings(rec, 0)
		for i := range int(rec.NumRows()) {
			ids = append(ids, arrowfile.CloneString(col, i))
		}
		for k := range values {
			values[k] = append(values[k], rec.Column(k+1).(*array.Float32).Float32Values()...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return features.NewExternalTable(key, ids, names, values)
}
