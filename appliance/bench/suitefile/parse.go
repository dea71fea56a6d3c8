package suitefile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"pgapp/appliance"
)

// MaxSize is the largest file in bytes.
const MaxSize = 16 << 10

const (
	// mostBrackets bounds the time of the parser, which grows with the square of the depth
	// to which a text nests. All variants of a file in braces are less than half of it.
	mostBrackets    = 1000
	mostExperiments = 24
	mostVariants    = 16
	// leastRepeats give a median and a spread.
	leastRepeats = 3
	mostRepeats  = 20
	mostPoints   = 1000
	// mostSeconds is the longest time that a file's loads may take together.
	mostSeconds = 24 * 60 * 60
	// mostTold is how many mistakes one error names.
	mostTold = 10
)

// Parse reads a file and checks all of it. The problem names each wrong field and its line.
func Parse(text []byte) (File, error) {
	if len(text) > MaxSize {
		return File{}, appliance.NewProblem(appliance.ErrTooLarge, "a suite's file has at most %d bytes", MaxSize)
	}
	if !utf8.Valid(text) {
		return File{}, unusable("it is not UTF-8 text")
	}
	if bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > mostBrackets {
		return File{}, unusable("it has more than %d brackets", mostBrackets)
	}
	docs, err := parser.ParseBytes(text, 0)
	if err != nil {
		return File{}, notYAML(err)
	}
	if len(docs.Docs) != 1 {
		return File{}, unusable("it holds more than one document")
	}
	r := &reader{}
	f := r.file(docs.Docs[0].Body)
	if len(r.wrong) > 0 {
		p := unusable("these fields are wrong")
		p.Fields = r.wrong[:min(len(r.wrong), mostTold)]
		return File{}, p
	}
	return f, nil
}

func unusable(format string, args ...any) *appliance.Problem {
	return appliance.NewProblem(appliance.ErrInvalidSpec, "the suite's file can't be used: "+format, args...).
		WithHint("pgapp bench suite --print writes one that can")
}

// notYAML says where the text breaks the rules of YAML.
func notYAML(err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return unusable("%s", cut(err.Error()))
	}
	lines := strings.Split(at.FormatError(false, true), "\n")
	for i, l := range lines {
		lines[i] = cut(l)
	}
	return unusable("line %d: %s", at.GetToken().Position.Line, cut(at.GetMessage())).WithDetail(strings.Join(lines[1:], "\n"))
}

// cut shortens a line of a foreign text.
func cut(s string) string {
	const most = 160
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// reader collects what is wrong with a file.
type reader struct{ wrong []appliance.FieldError }

// fail notes that the field is wrong, once.
func (r *reader) fail(of field, format string, args ...any) {
	e := appliance.FieldError{Field: of.path, Message: fmt.Sprintf(format, args...) + fmt.Sprintf(" (line %d)", of.line)}
	if !slices.Contains(r.wrong, e) {
		r.wrong = append(r.wrong, e)
	}
}

// field is a value of the file. The zero field is one that the file has not.
type field struct {
	path string
	line int
	node ast.Node
}

func (f field) given() bool { return f.node != nil }

// object is a mapping of the file.
type object struct {
	field
	fields map[string]field
}

// member is a field of the object; where it is not given its place is the object's.
func (o object) member(name string) field {
	if f, ok := o.fields[name]; ok {
		return f
	}
	return field{path: join(o.path, name), line: o.line}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// object reads a mapping, whose fields are known by name.
func (r *reader) object(of field, known []string) object {
	o := object{field: of, fields: map[string]field{}}
	m, ok := of.node.(ast.MapNode)
	if !ok {
		if of.path == "" {
			of.path = "the file"
		}
		r.fail(of, "has to be fields with values, not %s", shown(of.node))
		return o
	}
	for all := m.MapRange(); all.Next(); {
		key, value := all.Key().GetToken(), all.Value()
		f := field{path: join(of.path, fmt.Sprintf("%.40s", key.Value)), line: key.Position.Line, node: value}
		if !slices.Contains(known, key.Value) {
			r.fail(f, "is no field of a suite's file here; there are %s", strings.Join(known, ", "))
			continue
		}
		o.fields[key.Value] = f // once: the parser refuses a field that is there twice
	}
	return o
}

// list reads a sequence of at least one item.
func (r *reader) list(of field, most int) []field {
	s, ok := of.node.(*ast.SequenceNode)
	if !ok {
		r.fail(of, "has to be a list, not %s", shown(of.node))
		return nil
	}
	if len(s.Values) == 0 || len(s.Values) > most {
		r.fail(of, "has to have 1 to %d items, not %d", most, len(s.Values))
		return nil
	}
	var out []field
	for i, n := range s.Values {
		f := field{path: fmt.Sprintf("%s[%d]", of.path, i), line: of.line, node: n}
		if n != nil && n.GetToken() != nil {
			f.line = n.GetToken().Position.Line
		}
		out = append(out, f)
	}
	return out
}

// shown is a value in a message.
func shown(n ast.Node) string {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.StringNode:
		return fmt.Sprintf("%.40q", n.Value)
	case ast.ScalarNode:
		return fmt.Sprintf("%.40s", n.GetToken().Value)
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "fields"
	}
	return fmt.Sprintf("%.40q", n.GetToken().Value) // an anchor, an alias or a tag
}
