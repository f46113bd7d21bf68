package experiment

// Bucket returns the position of a value under a seed.
func Bucket(seed, value string) float64 { return bucket(fnv1a(fnvOffset, seed), value) }
