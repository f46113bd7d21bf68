package finetune

// HeldOut reports whether a text takes no part in tuning.
func HeldOut(cfg *Config, key uint64) bool { return (&corpusBuilder{cfg: cfg}).isHeldOut(key) }
