package ranker

import (
	"encoding/binary"
	"errors"
	"math"
)

// errPackedItem says that bytes are no packed item.
var errPackedItem = errors.New("the packed item is damaged")

// AppendPacked appends what UnpackItemInfo needs, beside the id and the spec, to make the same
// ItemInfo again: the text key, the tokens after their number, and the packed parts. So no text has
// to be read again. Files have these bytes, so a change of what tokens are, or of TextKey, needs a
// new version of these files.
func (i *ItemInfo) AppendPacked(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, i.TextKey)
	dst = append(dst, byte(len(i.Tokens))) // at most MaxTokens
	for _, t := range i.Tokens {
		dst = binary.LittleEndian.AppendUint32(dst, t)
	}
	return append(dst, i.packed...)
}

// UnpackItemInfo returns the ItemInfo that AppendPacked has packed. It keeps the id and the spec,
// and copies packed. Whatever the bytes are, it returns a usable item or an error.
func UnpackItemInfo(id string, packed []byte, spec TextSpec) (*ItemInfo, error) {
	const head = 8 + 1
	if len(packed) < head {
		return nil, errPackedItem
	}
	tokens := int(packed[head-1])
	parts := head + 4*tokens
	if tokens > MaxTokens || parts > len(packed) {
		return nil, errPackedItem
	}
	info := &ItemInfo{
		ID: id, TextKey: binary.LittleEndian.Uint64(packed), Tokens: make([]uint32, tokens),
		packed: string(packed[parts:]), spec: sharedSpec(spec),
	}
	for k := range info.Tokens {
		info.Tokens[k] = binary.LittleEndian.Uint32(packed[head+4*k:])
		if k > 0 && info.Tokens[k] <= info.Tokens[k-1] {
			return nil, errPackedItem
		}
	}
	if c := (itemChecker{rest: info.packed}); !c.item() {
		return nil, errPackedItem
	}
	return info, nil
}

// itemChecker checks that itemReader can read a packed item.
type itemChecker struct {
	rest string
	bad  bool
}

// item reads a packed item. It is false if the item has another form.
func (c *itemChecker) item() bool {
	c.string()
	c.strings()
	last := ""
	for k := range c.length() {
		name := c.string()
		if k > 0 && name <= last {
			c.bad = true // a name twice, or in another order
		}
		last = name
		c.value()
	}
	c.string()
	return !c.bad && c.rest == ""
}

// skip leaves out n bytes, and returns them.
func (c *itemChecker) skip(n uint64) string {
	if n > uint64(len(c.rest)) {
		c.bad, c.rest = true, ""
		return ""
	}
	s := c.rest[:n]
	c.rest = c.rest[n:]
	return s
}

func (c *itemChecker) uint() (v uint64) {
	for i := 0; i < len(c.rest) && i < binary.MaxVarintLen64-1; i++ {
		b := c.rest[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			c.rest = c.rest[i+1:]
			return v
		}
	}
	c.skip(math.MaxUint64)
	return 0
}

func (c *itemChecker) string() string { return c.skip(c.uint()) }

// length reads the length of a list, each of whose elements takes at least a byte.
func (c *itemChecker) length() int {
	n := max(c.uint(), 1) - 1
	if n > uint64(len(c.rest)) {
		c.skip(n)
		return 0
	}
	return int(n)
}

func (c *itemChecker) strings() {
	for range c.length() {
		c.string()
	}
}

func (c *itemChecker) value() {
	kind := c.skip(1)
	if c.bad {
		return
	}
	switch ValueKind(kind[0]) {
	case NoValue:
	case Number, Bool:
		c.skip(8)
	case String:
		c.string()
	case Strings:
		c.strings()
	case Numbers:
		if n := c.uint(); n <= uint64(len(c.rest))/8 {
			c.skip(8 * n)
		} else {
			c.skip(n)
			c.bad = true
		}
	default:
		c.bad = true
	}
}
