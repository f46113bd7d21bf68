package modelcard

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"relish/internal/chart"
	"relish/internal/plural"
)

// formatFixed writes a metric with three decimals.
func formatFixed(x float64) string { return strconv.FormatFloat(x, 'f', 3, 64) }

// formatSigned writes a difference with its sign and three decimals.
func formatSigned(x float64) string { return fmt.Sprintf("%+.3f", x) }

// formatPercent writes a share, 0 to 1, as a percentage.
func formatPercent(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return strconv.FormatFloat(100*x, 'f', 1, 64) + " %"
}

// formatCount writes a whole number with separators between thousands.
func formatCount(n int) string { return message.NewPrinter(language.English).Sprint(n) }

// formatPlural writes a number with its noun.
func formatPlural(n int, noun string) string {
	return formatCount(n) + " " + plural.Noun(n, noun)
}

// formatTime writes a time in UTC, "" for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// formatSeconds writes a duration given in seconds.
func formatSeconds(s float64) string {
	if s < 60 {
		return chart.Number(s) + " s"
	}
	whole := int(math.Round(s))
	if whole < 3600 {
		return fmt.Sprintf("%d min %d s", whole/60, whole%60)
	}
	return fmt.Sprintf("%d h %d min", whole/3600, whole%3600/60)
}

// formatBytes writes a size in MiB or GiB.
func formatBytes(b uint64) string {
	if b < 1<<30 {
		return chart.Number(float64(b)/(1<<20)) + " MiB"
	}
	return chart.Number(float64(b)/(1<<30)) + " GiB"
}
