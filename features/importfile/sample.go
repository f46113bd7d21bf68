package importfile

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// readSample returns the first values of a file. end is what ended the file within the sample:
// io.EOF or an error; nil if the sample is full.
func readSample[T any](next func() (T, error), size func(T) int) (sample []T, end error) {
	for bytes := 0; len(sample) < sampleRows && bytes < sampleBytes; {
		v, err := next()
		if err != nil {
			return sample, err
		}
		sample = append(sample, v)
		bytes += size(v)
	}
	return sample, nil
}

// useAll passes the sample and then the rest of the values to use. end is that of readSample.
func useAll[T any](sample []T, end error, next func() (T, error), use func(T) error) error {
	for _, v := range sample {
		if err := use(v); err != nil {
			return err
		}
	}
	for end == nil {
		v, err := next()
		if err == nil {
			err = use(v)
		}
		end = err
	}
	if errors.Is(end, io.EOF) {
		return nil
	}
	return end
}

// timeSample counts the forms of times in the sample of a file.
type timeSample struct {
	texts   int
	numbers int
	units   [Nanos + 1]int
	example [Nanos + 1]string // one number of each unit
}

// add counts the time of a cell.
func (s *timeSample) add(c cell) {
	t := c.trimmed()
	if t == "" || t == "0" || isNull(t) {
		return
	}
	x, ok := parseNumber(t)
	if !ok {
		if _, err := AnyUnit.parseTime(t); err == nil {
			s.texts++
		}
		return
	}
	s.numbers++
	if unit := unitOf(x); unit != AnyUnit {
		s.units[unit]++
		s.example[unit] = t
	}
}

// maxMixed is the largest share of numbers in other units than the file's. Such rows are rejected
// one by one; with more of them the file as a whole is.
const maxMixed = 0.1

// unit returns the unit of the times of the file: the one that was asked for, or else the one that
// most numbers of the sample have. It is an error to ask for a unit if more numbers have another.
func (s *timeSample) unit(asked TimeUnit) (TimeUnit, error) {
	best, second := AnyUnit, AnyUnit
	for unit, n := range s.units {
		switch {
		case n > s.units[best]:
			best, second = TimeUnit(unit), best
		case n > s.units[second] && TimeUnit(unit) != best:
			second = TimeUnit(unit)
		}
	}
	if asked != AnyUnit {
		if best != asked && s.units[best] > s.units[asked] {
			return AnyUnit, fmt.Errorf("--time-unit %s: its times seem to be %s, such as %s. Pass "+
				"--time-unit %s, or leave the flag out", units[asked].short, best,
				s.example[best], units[best].short)
		}
		return asked, nil
	}
	if n := s.units[second]; second != AnyUnit && float64(n) > maxMixed*float64(s.numbers) {
		return AnyUnit, fmt.Errorf("its times are in different units: %s seems to be %s, %s "+
			"seems to be %s. Write all of them in one unit", s.example[best], best,
			s.example[second], second)
	}
	return best, nil
}

// describe says how times are read, "" if the sample has none.
func (s *timeSample) describe(unit TimeUnit) string {
	var forms []string
	if s.units[unit] > 0 {
		forms = append(forms, unit.String())
	}
	if s.texts > 0 {
		forms = append(forms, "ISO 8601")
	}
	return strings.Join(forms, " and ")
}
