package bundle

// WriteInterruptible is Write, with between called before each step, whose error ends the writing
// there.
func WriteInterruptible(root string, m Manifest, files map[string][]byte, between func(step string) error) (string, error) {
	return (&writer{between}).write(root, m, files)
}

// Probes returns the recorded cases of a loaded bundle.
func (b *Bundle) Probes() []ProbeCase { return b.probe }

// MaxHistory is how many activations are remembered.
const MaxHistory = maxHistory
