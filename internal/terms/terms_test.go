package terms_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"relish/internal/terms"
)

func list(text string) (out []string) {
	for term := range terms.All(text) {
		out = append(out, term)
	}
	return out
}

func TestTerms(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"The Sea, the SEA! can't 3.14 foo_bar x-ray", "the sea the sea can t 3 14 foo bar x ray"},
		{"Füße naïve ŁÓDŹ über", "füße naïve łódź über"},
		{"Москва Ελλάδα שלום سلام", "москва ελλάδα שלום سلام"},
		{"8½ m² 10³", "8½ m² 10³"},
		{"iPhone™ Foo® ❤️love 1️⃣", "iphone foo love 1"},
		// Decomposed, full-width and half-width characters equal the usual ones.
		{"cafe\u0301 Việt", "café việt"},
		{"ＡＢＣ１２３", "abc123"},
		{"ｺｰﾋｰ ｶﾞｽ", "コー ーヒ ヒー ガス"},
		// Characters that nobody sees.
		{"ba\u200bset so\u00adlo \u2060wo\u200drd 👩\u200d🚒 sea", "baset solo word sea"},
		// Letters keep their vowel signs.
		{"हिन्दी किताब", "हिन्दी किताब"},
		{"தமிழ் বাংলা", "தமிழ் বাংলা"},
		// Chinese and Japanese.
		{"黑猫警长", "黑猫 猫警 警长"},
		{"猫", "猫"},
		{"红楼梦（珍藏版）", "红楼 楼梦 珍藏 藏版"},
		{"2023新款iPhone手机壳5个", "2023 新款 iphone 手机 机壳 5 个"},
		{"東京タワーの夜", "東京 京タ タワ ワー ーの の夜"},
		{"人々 〇〇", "人々 〇〇"},
		{"葛\U000E0100城", "葛城"},
		{"𠮷野家", "𠮷野 野家"},
		// Korean: bigrams within words; decomposed syllables equal composed ones.
		{"블루투스 이어폰을 책", "블루 루투 투스 이어 어폰 폰을 책"},
		{norm.NFD.String("한국어"), "한국 국어"},
		// Thai, Lao, Khmer, Myanmar: letters with their marks.
		{"แมวดำ", "แม มว วดํ ดํา"},
		{"ที่นี่", "ที่นี่"},
		{"๑๒ บาท", "๑๒ บา าท"},
		{"ລາວ", "ລາ າວ"},
		{"ភាសា", "ភាសា"},
		{"မြန်မာ", "မြန် န်မာ"},
		// Nothing, and marks without a letter.
		{"", ""}, {" ,.!", ""}, {"\u0301\ufe0f", ""}, {"\u0301a", "a"}, {"\xff\xfe", ""},
		{"ﷺ", "صلى الله عليه وسلم"},
	} {
		if got := strings.Join(list(c.text), " "); got != c.want {
			t.Errorf("%q has the terms %q, want %q", c.text, got, c.want)
		}
	}
}

func TestIsAsBefore(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "The Sea, the SEA!": true, "Война и мир": true, "8½": true,
		"黑猫警长": false, "A 黑猫": true, "한국어": false, "हिन्दी": false, "cafe\u0301": false, "猫": true,
	} {
		if got := terms.IsAsBefore(text); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}

// Bundles count words by their hashes, so words of scripts with spaces must stay what they were
// when a term was a run of letters and numbers in lower case.
func TestWordsStay(t *testing.T) {
	isSeparator := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }
	for _, text := range []string{
		"The Lord of the Rings: The Return of the King (2003) [Extended Edition]",
		"Crème brûlée à l'orange; Smörgåsbord, Straße 12½ & Ćevapčići",
		"Война и мир. Том 1-й; Їжак у тумані",
		"Ο Ζορμπάς του Καζαντζάκη (1946)", "Իմ քույրը", "ვეფხისტყაოსანი",
		"ספר הג'ונגל", "ألف ليلة وليلة", "شاهنامه فردوسی", "İstanbul'da ığdır",
		"Đường về nhà", "ỹ ĳ ŉ ſ ǆ", "ሀገር ፍቅር", "O'Reilly AT&T C++ #1 a@b.example",
	} {
		var want []string
		for w := range strings.FieldsFuncSeq(text, isSeparator) {
			want = append(want, strings.ToLower(w))
		}
		if got := list(text); !slices.Equal(got, want) {
			t.Errorf("%q has the terms %q, want %q", text, got, want)
		}
	}
}

func FuzzAll(f *testing.F) {
	f.Add("iPhone手机壳 블루투스 ที่นี่")
	f.Add("ﷺ\xff\u0301ｶﾞ")
	f.Fuzz(func(t *testing.T, text string) {
		for term, kind := range terms.All(text) {
			if term == "" || !utf8.ValidString(term) {
				t.Fatalf("%q has the term %q", text, term)
			}
			if again := list(term); kind == terms.Word && !slices.Equal(again, []string{term}) {
				t.Fatalf("%q has the term %q, which has the terms %q", text, term, again)
			}
		}
	})
}

func BenchmarkAll(b *testing.B) {
	for name, text := range map[string]string{
		"english": "The Adventures of Tom Sawyer and Huckleberry Finn",
		"russian": "Война и мир. Том первый и второй",
		"chinese": "透明防摔苹果手机壳硅胶保护套",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				for range terms.All(text) {
				}
			}
		})
	}
}
