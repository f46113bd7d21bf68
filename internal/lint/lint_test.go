// Package lint holds the rules of the house as tests: who may import whom, what must be documented,
// and what must not be committed. It has no other code.
package lint

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

type file struct {
	path string // from the root, with slashes
	dir  string
	test bool
	src  []byte
	ast  *ast.File
}

// tree parses every Go file of the repository.
func tree(t *testing.T) (*token.FileSet, []file) {
	t.Helper()
	fset := token.NewFileSet()
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(fset, path, src, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		files = append(files, file{path: rel, dir: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(rel, "_test.go"), src: src, ast: parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fset, files
}

// A rule says that files below the folders from (all but those below except) must not import deny.
type rule struct {
	from, except, deny []string
	reason             string
}

var rules = []rule{
	{[]string{"ranker"}, nil, []string{"github.com/gin-gonic", "github.com/redis", "github.com/yalue", "github.com/apache/arrow"},
		"the vocabulary and the pipeline know no edge, server or runtime"},
	{[]string{"ranker"}, nil, []string{"relish/features", "relish/embeddings", "relish/api", "relish/training"},
		"ranker declares small interfaces and gets implementations handed in by cmd"},
	{[]string{"features"}, nil, []string{"relish/embeddings", "relish/api"}, "features and embeddings do not know each other"},
	{[]string{"embeddings"}, nil, []string{"relish/features", "relish/api"}, "features and embeddings do not know each other"},
	{[]string{"."}, []string{"embeddings/onnx"}, []string{"github.com/yalue/onnxruntime_go"}, "its objects are destroyed by hand: one package does it"},
	{[]string{"."}, []string{"cmd", "internal/app", "api"}, []string{"relish/api"}, "only internal/app wires the HTTP edge"},
	{[]string{"."}, []string{"cmd"}, []string{"relish/cmd"}, "nobody imports the binary"},
	{[]string{"."}, []string{"cmd", "api"}, []string{"github.com/gin-gonic"}, "HTTP is api's"},
}

func below(path string, folders []string) bool {
	for _, f := range folders {
		if f == "." || path == f || strings.HasPrefix(path, f+"/") {
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	_, files := tree(t)
	for _, f := range files {
		if f.test {
			continue
		}
		for _, spec := range f.ast.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			for _, r := range rules {
				if below(f.dir, r.from) && !below(f.dir, r.except) && below(path, r.deny) {
					t.Errorf("%s imports %s: %s", f.path, path, r.reason)
				}
			}
			if f.dir == "ranker" && strings.HasPrefix(path, "relish/ranker/") {
				t.Errorf("%s imports %s: the vocabulary does not know its users", f.path, path)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	_, files := tree(t)
	has := map[string]bool{}
	for _, f := range files {
		has[f.dir] = has[f.dir] || f.ast.Doc != nil && regexp.MustCompile(`^(Package|Command) `).MatchString(f.ast.Doc.Text())
	}
	for dir, ok := range has {
		if !ok {
			t.Errorf("%s: no file tells the package's story (a comment that begins with \"Package\" or \"Command\")", dir)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	fset, files := tree(t)
	for _, f := range files {
		if f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
					t.Errorf("%s: %s has no comment", fset.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				undocumented(d, func(name *ast.Ident) { t.Errorf("%s: %s has no comment", fset.Position(name.Pos()), name.Name) })
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// undocumented calls bad for exported names that neither their group nor their line comments.
func undocumented(d *ast.GenDecl, bad func(*ast.Ident)) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
				bad(s.Name)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					bad(name)
				}
			}
		}
	}
}

func TestFiles(t *testing.T) {
	// The marks are spelled apart, so that this file passes its own rule.
	unfinished := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b|not ` + `implemented|t\.Sk` + `ip\(`)
	_, files := tree(t)
	for _, f := range files {
		if out, err := format.Source(f.src); err != nil || !bytes.Equal(out, f.src) {
			t.Errorf("%s: not formatted; run gofmt -w", f.path)
		}
		if n := bytes.Count(f.src, []byte("\n")); n > 400 && !f.test {
			t.Errorf("%s: %d lines; is it still one room? 400 is the limit", f.path, n)
		}
		if m := unfinished.Find(f.src); m != nil {
			t.Errorf("%s: holds %q: finish it or leave it out", f.path, m)
		}
	}
}
