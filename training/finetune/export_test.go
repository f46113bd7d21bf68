package finetune

// HeldOut reports whether training holds out the text with this key.
func HeldOut(cfg *Config, key uint64) bool { return (&corpusBuilder{cfg: cfg}).isHeldOut(key) }
