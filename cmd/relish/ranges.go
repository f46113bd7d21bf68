package main

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// A flagRange is the range of a flag's numbers.
type flagRange struct {
	min, max float64
	above    bool // min itself is outside
}

// flagRanges has the flags whose range does not depend on other flags, by name. A duration is in
// nanoseconds.
var flagRanges = map[string]flagRange{
	"batch":              atLeast(1),
	"cache-bytes":        atLeast(0),
	"candidates":         atLeast(1),
	"catalogue":          atLeast(0),
	"claim-after":        above0,
	"days":               atLeast(1),
	"duration":           above0,
	"erase-after":        above0,
	"gpu-mem-limit":      atLeast(0),
	"k":                  atLeast(1),
	"last":               {min: 0, max: 1, above: true},
	"log-features":       {min: 0, max: 1},
	"log-timeout":        above0,
	"max-body-memory":    atLeast(1 << 20),
	"max-connections":    atLeast(1),
	"max-encoder-queue":  atLeast(1 << 20),
	"max-fresh-texts":    atLeast(1),
	"max-in-flight":      atLeast(1),
	"max-log-bytes":      atLeast(0),
	"max-log-queue":      atLeast(1 << 20),
	"max-minutes":        above0,
	"max-tokens":         atLeast(1),
	"negatives":          atLeast(1),
	"past":               atLeast(0),
	"rate":               atLeast(0),
	"rate-per-key":       atLeast(0),
	"redis-read-timeout": above0,
	"refusal-delay":      atLeast(0),
	"retain-age":         atLeast(0),
	"retain-bytes":       atLeast(0),
	"runs":               atLeast(1),
	"state-cache-bytes":  atLeast(0),
}

var above0 = flagRange{max: math.Inf(1), above: true}

func atLeast(n float64) flagRange { return flagRange{min: n, max: math.Inf(1)} }

func (r flagRange) contains(x float64) bool {
	return x >= r.min && x <= r.max && !(r.above && x == r.min)
}

func (r flagRange) String() string {
	switch {
	case r.above && !math.IsInf(r.max, 1):
		return "above " + plain(r.min) + " and at most " + plain(r.max)
	case !math.IsInf(r.max, 1):
		return "from " + plain(r.min) + " to " + plain(r.max)
	case r.above:
		return "above " + plain(r.min)
	default:
		return "at least " + plain(r.min)
	}
}

// plain returns a number without an exponent.
func plain(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// checkRanges returns an error if a number on the command line, in the environment or in the
// configuration is out of its range.
func checkRanges(command *kong.Context) error {
	given := map[*kong.Flag]bool{}
	for _, element := range command.Path {
		given[element.Flag] = true
	}
	for _, flag := range command.Flags() {
		limits, ok := flagRanges[flag.Name]
		if !ok || !given[flag] && !flag.HasDefault && flag.Target.IsZero() {
			continue
		}
		values := []reflect.Value{flag.Target}
		if flag.Target.Kind() == reflect.Slice {
			values = values[:0]
			for i := range flag.Target.Len() {
				values = append(values, flag.Target.Index(i))
			}
		}
		for _, value := range values {
			if !limits.contains(number(value)) {
				return fmt.Errorf("--%s %v must be %s%s", flag.Name, value.Interface(), limits,
					example(flag))
			}
		}
	}
	return nil
}

// number is the value of a flag of a numeric type.
func number(value reflect.Value) float64 {
	if value.CanFloat() {
		return value.Float()
	}
	return float64(value.Int())
}

// example is an example of a flag's value for an error message: its default.
func example(flag *kong.Flag) string {
	switch {
	case flag.HasDefault && flag.Default != "" && flag.Default != "0":
		return ", such as " + flag.Default
	case flag.Target.Type() == reflect.TypeFor[time.Duration]():
		return ", such as 30m or 24h"
	case strings.Contains(flag.Name, "bytes"):
		return ", such as 1000000000"
	}
	return ""
}

// parsedValue matches what kong says about a value that it cannot read.
var parsedValue = regexp.MustCompile(
	`^--(\S+): expected (?:an? )?(?:valid )?(?:\d+ bit )?(\w+)(?: value)? but got "(.*?)"`)

// plainParseError says with an example how the value of a flag is written.
func plainParseError(err error) error {
	match := parsedValue.FindStringSubmatch(err.Error())
	if match == nil {
		return err
	}
	name, kind, value := match[1], match[2], match[3]
	switch kind {
	case "int", "integer":
		kind = "a whole number"
	case "uint":
		kind = "a whole number of at least 0"
	case "float":
		kind = "a number"
	case "duration":
		kind = "a duration, such as 90s, 30m or 24h"
	default:
		return err
	}
	limits, limited := flagRanges[name]
	x, notNumber := strconv.ParseFloat(value, 64)
	switch {
	case limited && notNumber == nil && !limits.contains(x):
		return fmt.Errorf("--%s %s must be %s", name, value, limits)
	case strings.HasSuffix(name, "bytes"):
		kind += " of bytes, such as 1000000000"
	case limited && strings.HasPrefix(limits.String(), "at least") && kind == "a whole number":
		kind += " of " + limits.String()
	case limited && !strings.Contains(kind, "duration"):
		kind += " " + limits.String()
	}
	return fmt.Errorf("--%s %q is not %s", name, value, kind)
}
