package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"relish/internal/suggest"
)

// checker finds the unknown keys and the values of a wrong type of a file. The YAML decoder finds
// them too, but its messages name neither the whole path of a key nor an example.
type checker struct{ errs []error }

func (c *checker) report(node *yaml.Node, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("line %d: %s", node.Line, fmt.Sprintf(format, args...)))
}

// check compares a node with the value that it is decoded into, which holds the defaults.
func (c *checker) check(node *yaml.Node, path string, v reflect.Value) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v = reflect.New(v.Type().Elem())
		}
		v = v.Elem()
	}
	if node.ShortTag() == "!!null" || v.Kind() == reflect.Interface {
		return
	}
	if decodesItself(v.Type()) {
		c.checkScalar(node, path, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		c.checkSection(node, path, v)
	case reflect.Slice:
		if node.Kind != yaml.SequenceNode {
			c.wrongType(node, path, v)
			return
		}
		for i, entry := range node.Content {
			c.check(entry, fmt.Sprintf("%s[%d]", path, i), reflect.New(v.Type().Elem()).Elem())
		}
	case reflect.Map:
		if node.Kind != yaml.MappingNode {
			c.wrongType(node, path, v)
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			name := path + "." + node.Content[i].Value
			c.check(node.Content[i+1], name, reflect.New(v.Type().Elem()).Elem())
		}
	default:
		c.checkScalar(node, path, v)
	}
}

// decodesItself reports whether a type has its own way to read a value.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[yaml.Unmarshaler]()) ||
		p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func (c *checker) checkScalar(node *yaml.Node, path string, v reflect.Value) {
	if node.Decode(reflect.New(v.Type()).Interface()) != nil {
		c.wrongType(node, path, v)
	}
}

// checkSection checks the keys of a section. The keys of the whole file that are no sections are
// flags, which checkFlags checks.
func (c *checker) checkSection(node *yaml.Node, path string, v reflect.Value) {
	if node.Kind != yaml.MappingNode {
		c.wrongType(node, path, v)
		return
	}
	fields, names := map[string]reflect.Value{}, []string(nil)
	for i := range v.NumField() {
		if name := keyOf(v.Type().Field(i)); name != "" {
			fields[name], names = v.Field(i), append(names, name)
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		full := key.Value
		if path != "" {
			full = path + "." + key.Value
		}
		switch field, known := fields[key.Value]; {
		case known:
			c.check(value, full, field)
		case path != "" && key.ShortTag() != "!!merge":
			c.report(key, "unknown key %q%s", full, keyHint(path, key.Value, names))
		}
	}
}

// keyOf returns the key of a field in a file, "" if it has none.
func keyOf(field reflect.StructField) string {
	name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	switch {
	case !field.IsExported(), name == "-", strings.Contains(options, "inline"):
		return ""
	case name == "":
		return strings.ToLower(field.Name)
	}
	return name
}

// keyHint is the end of the message about an unknown key: the key that was probably meant, or the
// known ones.
func keyHint(path, name string, known []string) string {
	if slices.Contains([]string{"key", "secret", "token"}, name) &&
		slices.Contains(known, "sha256") {
		return "; the file holds no key itself: write its digest as sha256, which " +
			"printf %s KEY | sha256sum prints"
	}
	if near := suggest.Name(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", path+"."+near)
	}
	return fmt.Sprintf("; keys of %s are %s", path, strings.Join(known, ", "))
}

// wrongType reports a value of a wrong type, with the default as an example of the right one.
func (c *checker) wrongType(node *yaml.Node, path string, v reflect.Value) {
	found := fmt.Sprintf("%q", node.Value)
	switch node.Kind {
	case yaml.SequenceNode:
		found = "a list"
	case yaml.MappingNode:
		found = "a section with keys"
	}
	if path == "" {
		c.report(node, "the file must be a section with keys, and is %s", found)
		return
	}
	c.report(node, "%s must be %s, and is %s", path, describe(v), found)
}

// describe says how a value of a type is written.
func describe(v reflect.Value) string {
	example := func(kind string) string {
		if v.IsZero() || decodesItself(v.Type()) {
			return kind
		}
		return fmt.Sprintf("%s, such as %v", kind, v.Interface())
	}
	switch v.Kind() {
	case reflect.String:
		return example("a text")
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return example("a number")
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			return "a list of sections with keys"
		}
		if v.Len() == 0 {
			return "a list, such as [A, B]"
		}
		var entries []string
		for i := range min(v.Len(), 2) {
			entries = append(entries, fmt.Sprint(v.Index(i).Interface()))
		}
		return "a list, such as [" + strings.Join(entries, ", ") + "]"
	case reflect.Struct, reflect.Map:
		return "a section with keys"
	default:
		return example("a whole number")
	}
}
