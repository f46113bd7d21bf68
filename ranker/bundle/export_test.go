package bundle

// WriteInterruptible is Write that calls between before each step. An error of between ends it.
func WriteInterruptible(
	root string,
	m Manifest,
	files map[string][]byte,
	between func(step string) error,
) (string, error) {
	return (&writer{between}).write(root, m, files, nil)
}

// Probes returns the recorded cases of a loaded bundle.
func (b *Bundle) Probes() []ProbeCase { return b.probe }

// MaxHistory exports maxHistory.
const MaxHistory = maxHistory
