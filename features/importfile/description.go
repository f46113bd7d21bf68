package importfile

import "slices"

// Description says how a file is read.
type Description struct {
	Format    Format
	Separator rune   // of CSV
	Rows      int    // read so far
	Times     string // how times are read, such as "Unix seconds"; "" if the sample has none
	// Unused are the columns that nothing is read from.
	Unused []string
	// Fields are the types of the fields of items and users. JSON and Parquet have types of their
	// own, which are left out.
	Fields map[string]string
}

func (d *Description) unused(column string) {
	if column != "" && !slices.Contains(d.Unused, column) {
		d.Unused = append(d.Unused, column)
	}
}
