package signals

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"relish/ranker"
	served "relish/ranker/signals"
)

// maxKnots is the number of knots of a numeric field at most.
const maxKnots = 32

// TrainContentFeatures learns how content becomes numbers, from the catalogue alone.
func TrainContentFeatures(c *Corpus, seed uint64) (*served.ContentFeatures, error) {
	projection, err := TrainProjection(c, seed)
	if err != nil {
		return nil, err
	}
	out := &served.ContentFeatures{Projection: projection, Numbers: numberScales(c)}
	_, weights, fields := fieldValueWeights(c)
	names := slices.Compact(slices.Sorted(slices.Values(fields)))
	out.FieldCount = len(names)
	for v, w := range weights {
		field, _ := slices.BinarySearch(names, fields[v])
		out.ValueWeights = append(out.ValueWeights, float32(max(1e-3, w)))
		out.ValueFields = append(out.ValueFields, int32(field))
	}
	out.FieldLimits = fieldLimits(c, names)
	return out, nil
}

// fieldLimits returns, for each of the fields, how many distinct values an item usually has at
// most.
func fieldLimits(c *Corpus, fields []string) []float32 {
	counts := map[string][]int{} // by field: number of values of each item that has the field
	for _, info := range c.ItemInfos {
		if info == nil {
			continue
		}
		eachStringField(info, func(field string, values []string) {
			counts[field] = append(counts[field], len(distinctStrings(values)))
		})
	}
	out := make([]float32, len(fields))
	for i, field := range fields {
		out[i] = float32(max(1, UsualMaximum(counts[field])))
	}
	return out
}

// distinctStrings returns the distinct values, sorted.
func distinctStrings(values []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(values)))
}

// UsualMaximum returns the smallest number that 99 of 100 counts do not exceed, 0 without counts.
// It sorts them.
func UsualMaximum(counts []int) int {
	if len(counts) == 0 {
		return 0
	}
	slices.Sort(counts)
	return counts[(99*len(counts)+99)/100-1]
}

// numberScales returns the scales of the numeric fields, sorted by name.
func numberScales(c *Corpus) (out []served.NumberScale) {
	values := map[string][]float32{}
	for _, info := range c.ItemInfos {
		if info == nil {
			continue
		}
		for name, v := range info.Fields() {
			if v.Kind == ranker.Number || v.Kind == ranker.Bool {
				x := max(-math.MaxFloat32, min(math.MaxFloat32, v.Num))
				values[name] = append(values[name], float32(x))
			}
		}
	}
	for name, x := range values {
		out = append(out, numberScale(name, x))
	}
	slices.SortFunc(out, func(a, b served.NumberScale) int {
		return cmp.Compare(a.Name, b.Name)
	})
	return out
}

// numberScale returns the scale of the values, which it sorts. The knots are at equal distances
// among them.
func numberScale(name string, values []float32) served.NumberScale {
	slices.Sort(values)
	out, n := served.NumberScale{Name: name}, len(values)
	for k := range maxKnots {
		x := values[k*(n-1)/(maxKnots-1)]
		if k > 0 && x == out.Knots[len(out.Knots)-1] {
			continue
		}
		below := sort.Search(n, func(i int) bool { return values[i] >= x })
		to := sort.Search(n, func(i int) bool { return values[i] > x })
		out.Knots = append(out.Knots, x)
		out.Quantiles = append(out.Quantiles, float32(below+to)/float32(2*n))
	}
	return out
}
