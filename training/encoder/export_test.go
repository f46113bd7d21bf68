package encoder

// Held reports whether a text takes no part in tuning.
func Held(cfg *Config, key uint64) bool { return (&reader{cfg: cfg}).holds(key) }
