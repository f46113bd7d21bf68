package terms

import "unicode"

// Scripts counts the letters of texts by script. The zero value has counted nothing.
type Scripts struct{ han, kana, letters int }

// Add counts the letters of a text.
func (s *Scripts) Add(text string) {
	for _, r := range text {
		switch {
		case !unicode.IsLetter(r):
			continue
		case unicode.Is(unicode.Han, r):
			s.han++
		case unicode.In(r, unicode.Hiragana, unicode.Katakana):
			s.kana++
		}
		s.letters++
	}
}

// maxKanaShare is the share of kana up to which a text is Chinese. Japanese texts have far more.
const maxKanaShare = 0.05

// IsChinese reports whether most letters are Chinese characters, and not those of Japanese texts.
func (s *Scripts) IsChinese() bool {
	return 2*s.han > s.letters && float64(s.kana) <= maxKanaShare*float64(s.letters)
}
