package libvirt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// definition is the text of a domain's definition. An edit changes one part and
// keeps every other byte: it may be a user's change, or an element that this
// version of pgapp has no type for.
type definition struct{ text string }

// element is where one element lies in the text: its start tag is
// text[start:inner], its content text[inner:innerEnd].
type element struct{ start, inner, innerEnd, end int }

// elements finds the elements of that path below the root, such as
// "devices", "disk"; no path is the root itself.
func (d *definition) elements(path ...string) ([]element, error) {
	dec := xml.NewDecoder(strings.NewReader(d.text))
	var names []string
	var open, found []element
	for {
		at := int(dec.InputOffset())
		token, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			slices.SortFunc(found, func(a, b element) int { return a.start - b.start })
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading a domain's definition: %w", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			name := t.Name.Local
			if t.Name.Space != "" {
				name = t.Name.Space + ":" + name
			}
			names = append(names, name)
			open = append(open, element{start: at, inner: int(dec.InputOffset())})
		case xml.EndElement:
			if len(open) == 0 {
				return nil, errors.New("reading a domain's definition: an element ends that didn't begin")
			}
			e := open[len(open)-1]
			e.innerEnd, e.end = at, int(dec.InputOffset())
			if slices.Equal(names[1:], path) {
				found = append(found, e)
			}
			names, open = names[:len(names)-1], open[:len(open)-1]
		}
	}
}

// one finds the only element of the path; ok is false where there is none.
func (d *definition) one(path ...string) (e element, ok bool, err error) {
	all, err := d.elements(path...)
	if err != nil || len(all) == 0 {
		return element{}, false, err
	}
	return all[0], true, nil
}

func (d *definition) splice(start, end int, with string) {
	d.text = d.text[:start] + with + d.text[end:]
}

// remove takes the element out, with the blanks before it.
func (d *definition) remove(e element) {
	start := len(strings.TrimRight(d.text[:e.start], " \t"))
	if start > 0 && d.text[start-1] == '\n' {
		start--
	}
	d.splice(start, e.end, "")
}

// add puts the text at the end of the element of the path, which has to be there.
func (d *definition) add(text string, path ...string) error {
	e, ok, err := d.one(path...)
	if err != nil {
		return err
	}
	if !ok || e.inner == e.end {
		return fmt.Errorf("a domain's definition has no place for %s", strings.Join(path, "/"))
	}
	d.splice(e.innerEnd, e.innerEnd, text+"\n")
	return nil
}

func attrRE(name string) *regexp.Regexp {
	return regexp.MustCompile(`\s` + regexp.QuoteMeta(name) + `\s*=\s*('[^']*'|"[^"]*")`)
}

// attr is the value of the element's attribute, or "".
func (d *definition) attr(e element, name string) string {
	m := attrRE(name).FindStringSubmatch(d.text[e.start:e.inner])
	if m == nil {
		return ""
	}
	return m[1][1 : len(m[1])-1]
}

// setAttr changes an attribute that the element has; value needs no escapes.
func (d *definition) setAttr(e element, name, value string) {
	tag := d.text[e.start:e.inner]
	d.splice(e.start, e.inner, attrRE(name).ReplaceAllLiteralString(tag, " "+name+"='"+value+"'"))
}

// setKiB writes the element of the path anew as NAME unit='KiB', where it is there.
func (d *definition) setKiB(kib uint64, name string) error {
	e, ok, err := d.one(name)
	if err != nil || !ok {
		return err
	}
	d.splice(e.start, e.end, fmt.Sprintf("<%s unit='KiB'>%d</%s>", name, kib, name))
	return nil
}

// accelerate makes the domain one of that type. The processor follows where it
// is one that pgapp chooses.
func (d *definition) accelerate(kind string) error {
	root, ok, err := d.one()
	if err != nil || !ok || d.attr(root, "type") == kind {
		return err
	}
	d.setAttr(root, "type", kind)
	was, is := cpu(typeTCG).Mode, cpu(kind).Mode
	if kind == typeTCG {
		was = cpu(typeKVM).Mode
	}
	if e, ok, err := d.one("cpu"); err != nil {
		return err
	} else if ok && d.attr(e, "mode") == was {
		d.setAttr(e, "mode", is)
	}
	tcg, ok, err := d.one("features", "tcg")
	switch {
	case err != nil:
		return err
	case ok && kind != typeTCG:
		d.remove(tcg)
	case !ok && kind == typeTCG:
		if _, ok, err := d.one("features"); err == nil && ok {
			return d.add(fmt.Sprintf("<tcg><tb-cache unit='MiB'>%d</tb-cache></tcg>", tcgCacheMiB), "features")
		}
	}
	return nil
}

// resize gives the domain other memory and processors, all of them from its
// start; 0 leaves them as they are.
func (d *definition) resize(memoryMiB, vcpus int) error {
	if memoryMiB != 0 {
		for _, name := range []string{"memory", "currentMemory"} {
			if err := d.setKiB(uint64(memoryMiB)<<10, name); err != nil {
				return err
			}
		}
	}
	e, ok, err := d.one("vcpu")
	if err != nil || !ok || vcpus == 0 {
		return err
	}
	n := strconv.Itoa(vcpus)
	d.splice(e.inner, e.innerEnd, n)
	if d.attr(e, "current") != "" {
		d.setAttr(e, "current", n)
	}
	e, ok, err = d.one("vcpus") // says which of the old number are there
	if err == nil && ok {
		d.remove(e)
	}
	return err
}

// disk finds the disk whose source is that file.
func (d *definition) disk(file string) (element, bool, error) {
	return d.device("disk", func(text string) bool {
		var x struct {
			Source struct {
				File string `xml:"file,attr"`
			} `xml:"source"`
		}
		return xml.Unmarshal([]byte(text), &x) == nil && x.Source.File == file
	})
}

// diskAt finds the disk of that target.
func (d *definition) diskAt(target string) (element, bool, error) {
	return d.device("disk", func(text string) bool { return targetOf(text) == target })
}

func targetOf(disk string) string {
	var x struct {
		Target struct {
			Dev string `xml:"dev,attr"`
		} `xml:"target"`
	}
	if xml.Unmarshal([]byte(disk), &x) != nil {
		return ""
	}
	return x.Target.Dev
}

func (d *definition) device(kind string, match func(text string) bool) (element, bool, error) {
	all, err := d.elements("devices", kind)
	for _, e := range all {
		if match(d.text[e.start:e.end]) {
			return e, true, nil
		}
	}
	return element{}, false, err
}

// freeTarget is the name of a disk that the domain has no disk of: the wanted
// one, or the next.
func (d *definition) freeTarget(wanted string) (string, error) {
	all, err := d.elements("devices", "disk")
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, e := range all {
		taken[targetOf(d.text[e.start:e.end])] = true
	}
	for c := wanted[len(wanted)-1]; c <= 'z'; c++ {
		if name := wanted[:len(wanted)-1] + string(c); !taken[name] {
			return name, nil
		}
	}
	return "", errors.New("the domain has no room for another disk")
}
