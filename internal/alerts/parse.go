package alerts

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"relish/features/trends"
)

// Parse reads the condition of a rule:
//
//	share(FIELD=VALUE) [of SOURCE] > NUMBER x its usual in N h
//	count(FIELD=VALUE) [of SOURCE] > NUMBER in N d
//
// Each of share and count goes with each of the limits and units. VALUE may stand in double quotes.
// SOURCE is items, which is the default, or an action. The error names the position, counted in
// characters from 1, and what is allowed there.
func Parse(when string) (c Condition, err error) {
	p := parser{text: when}
	c.Share = p.oneOf("share", "count") == "share"
	p.expect("(")
	c.Field = p.until("=", "the name of an item field")
	p.expect("=")
	c.Value = p.value()
	p.expect(")")
	c.Source = trends.SourceItems
	if p.accept("of") {
		c.Source = p.word("items or an action, such as click")
	}
	p.expect(">")
	at := p.at
	c.Limit = p.number()
	if c.Usual = p.accept("x"); c.Usual {
		p.expect("its")
		p.expect("usual")
		if c.Limit < 1 {
			p.failAt(at, "a multiple of the usual, at least 1")
		}
	} else if c.Share && c.Limit > 1 {
		p.failAt(at, "a share from 0 to 1, or \"x its usual\" after the number")
	}
	p.expect("in")
	at = p.at
	hours := p.number()
	if p.oneOf("h", "d") == "d" {
		hours *= 24
	}
	if c.Hours = int(hours); hours < 1 || hours > maxWindow || float64(c.Hours) != hours {
		p.failAt(at, "a whole number of hours (1 to 168 h) or days (1 to 7 d)")
	}
	if p.skip(); p.at < len(p.text) {
		p.fail("the end")
	}
	return c, p.err
}

// parser reads a condition from left to right. After an error it reads nothing.
type parser struct {
	text string
	at   int // in bytes
	err  error
}

func (p *parser) fail(allowed string) { p.failAt(p.at, allowed) }

// failAt sets the error for a position.
func (p *parser) failAt(at int, allowed string) {
	if p.err != nil {
		return
	}
	at += len(p.text[at:]) - len(strings.TrimLeft(p.text[at:], " \t\n"))
	found := "the end"
	if rest := p.text[at:]; rest != "" {
		if word, _, _ := strings.Cut(rest, " "); utf8.RuneCountInString(word) > 20 {
			found = strconv.Quote(string([]rune(word)[:20]) + "…")
		} else {
			found = strconv.Quote(word)
		}
	}
	p.err = fmt.Errorf("at character %d: expected %s, found %s",
		utf8.RuneCountInString(p.text[:at])+1, allowed, found)
}

func (p *parser) skip() {
	for p.at < len(p.text) && strings.ContainsRune(" \t\n", rune(p.text[p.at])) {
		p.at++
	}
}

// accept reads a token if it is next. A word must end there.
func (p *parser) accept(token string) bool {
	p.skip()
	if p.err != nil || !strings.HasPrefix(p.text[p.at:], token) {
		return false
	}
	end := p.at + len(token)
	if isLetter(token[0]) && end < len(p.text) && isLetter(p.text[end]) {
		return false
	}
	p.at = end
	return true
}

func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' || b == '_' || b >= 0x80 }

func (p *parser) expect(token string) {
	if !p.accept(token) {
		p.fail(strconv.Quote(token))
	}
}

// oneOf reads one of the tokens.
func (p *parser) oneOf(tokens ...string) string {
	for _, token := range tokens {
		if p.accept(token) {
			return token
		}
	}
	p.fail(`"` + strings.Join(tokens, `" or "`) + `"`)
	return ""
}

// until reads what stands before a delimiter, without space around it.
func (p *parser) until(delimiter, what string) string {
	p.skip()
	end := strings.Index(p.text[p.at:], delimiter)
	if p.err != nil || end < 0 || strings.TrimSpace(p.text[p.at:p.at+end]) == "" {
		p.fail(what + " before " + strconv.Quote(delimiter))
		return ""
	}
	text := strings.TrimSpace(p.text[p.at : p.at+end])
	p.at += end
	return text
}

// value reads a quoted value, or one up to the closing bracket.
func (p *parser) value() string {
	p.skip()
	if p.err != nil || !strings.HasPrefix(p.text[p.at:], `"`) {
		return p.until(")", "a value")
	}
	quoted, err := strconv.QuotedPrefix(p.text[p.at:])
	if err != nil {
		p.fail("a value in double quotes")
		return ""
	}
	p.at += len(quoted)
	value, _ := strconv.Unquote(quoted) // QuotedPrefix has checked it
	return value
}

// word reads what stands before the next space or ">".
func (p *parser) word(what string) string {
	p.skip()
	end := strings.IndexAny(p.text[p.at:]+" ", " \t\n>")
	if p.err != nil || end == 0 {
		p.fail(what)
		return ""
	}
	p.at += end
	return p.text[p.at-end : p.at]
}

// maxNumber bounds the numbers, so that a multiple of the usual is finite.
const maxNumber = 1e15 - 1

// number reads a number from 0 to maxNumber.
func (p *parser) number() float64 {
	p.skip()
	end := p.at
	for end < len(p.text) && (p.text[end] >= '0' && p.text[end] <= '9' || p.text[end] == '.') {
		end++
	}
	x, err := strconv.ParseFloat(p.text[p.at:end], 64)
	if p.err != nil || err != nil {
		p.fail("a number")
		return 0
	}
	if x > maxNumber {
		p.fail("a number of at most 15 digits")
		return 0
	}
	p.at = end
	return x
}
