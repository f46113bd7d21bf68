package event

// ValueScanner finds the end of a JSON object or array by its brackets alone. A value that is not
// valid JSON then does not hide the next one. A line break ends a string, because JSON has none in
// strings: a quote that is not closed then damages one value only. The zero ValueScanner is ready
// to scan a value from its first byte on.
type ValueScanner struct {
	MaxDepth int // nesting of the deepest part so far
	Values   int // about how many values there are so far: commas and opening brackets

	depth             int
	inString, escaped bool
}

// Scan reads the next bytes of the value. It returns how many of them belong to the value, and
// whether the value ends with them.
func (s *ValueScanner) Scan(data []byte) (n int, done bool) {
	for i, c := range data {
		switch {
		case c == '\n':
			s.inString, s.escaped = false, false
		case s.escaped:
			s.escaped = false
		case s.inString:
			s.escaped = c == '\\'
			s.inString = c != '"'
		case c == '"':
			s.inString = true
		case c == ',':
			s.Values++
		case c == '{' || c == '[':
			s.Values++
			s.depth++
			s.MaxDepth = max(s.MaxDepth, s.depth)
		case c == '}' || c == ']':
			if s.depth--; s.depth == 0 {
				return i + 1, true
			}
		}
	}
	return len(data), false
}
