package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxDepth bounds the nesting of pages and buckets; a tree of pgapp's is two
// or three deep.
const maxDepth = 32

// noFreelist marks a database that was written without a freelist.
const noFreelist = ^uint64(0)

// walker follows every page from the root, so that bbolt never follows a page
// number beyond the end of the file.
type walker struct {
	r     io.ReaderAt
	pages uint64
	seen  map[uint64]bool
}

// walk checks the tree of pages and the freelist.
func walk(r io.ReaderAt, m meta) error {
	w := &walker{r: r, pages: m.pages, seen: map[uint64]bool{}}
	if err := w.tree(m.root, 0); err != nil {
		return err
	}
	if m.freelist == noFreelist {
		return errors.New("it has no freelist")
	}
	return w.freelist(m.freelist)
}

// page reads a page with what it overflows into, and marks it as used.
func (w *walker) page(id uint64) ([]byte, error) {
	var head [pageHeader]byte
	if id < 2 || id >= w.pages {
		return nil, fmt.Errorf("page %d lies outside of the file", id)
	}
	if _, err := w.r.ReadAt(head[:], int64(id)*pageSize); err != nil { // #nosec G115 -- below the file's size
		return nil, fmt.Errorf("reading page %d: %w", id, err)
	}
	overflow := uint64(binary.LittleEndian.Uint32(head[12:]))
	if self := binary.LittleEndian.Uint64(head[:]); self != id || overflow >= w.pages-id {
		return nil, fmt.Errorf("the header of page %d is wrong", id)
	}
	for i := id; i <= id+overflow; i++ {
		if w.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		w.seen[i] = true
	}
	b := make([]byte, (overflow+1)*pageSize)
	if _, err := w.r.ReadAt(b, int64(id)*pageSize); err != nil { // #nosec G115 -- below the file's size
		return nil, fmt.Errorf("reading page %d: %w", id, err)
	}
	return b, nil
}

func (w *walker) tree(id uint64, depth int) error {
	if depth > maxDepth {
		return errors.New("the tree of pages is too deep")
	}
	b, err := w.page(id)
	if err != nil {
		return err
	}
	switch flags := binary.LittleEndian.Uint16(b[8:]); flags {
	case flagBranch:
		err = w.branch(b, depth)
	case flagLeaf:
		err = w.leaf(b, depth, false)
	default:
		err = fmt.Errorf("type %#x is wrong", flags)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// element is one of a branch's or leaf's, 16 bytes; key and value lie pos
// bytes behind its beginning.
type element struct {
	flags, pos, ksize, vsize uint32
	child                    uint64
}

// elements calls visit for each of the page's, in order of the keys, which
// must grow.
func elements(b []byte, leaf bool, visit func(e element, value []byte) error) error {
	le := binary.LittleEndian
	count := int(le.Uint16(b[10:]))
	if pageHeader*(1+count) > len(b) {
		return fmt.Errorf("%d elements don't fit", count)
	}
	var last []byte
	for i := range count {
		at := pageHeader * (1 + i)
		p := b[at : at+16]
		e := element{pos: le.Uint32(p), ksize: le.Uint32(p[4:]), child: le.Uint64(p[8:])}
		if leaf {
			e = element{flags: le.Uint32(p), pos: le.Uint32(p[4:]), ksize: le.Uint32(p[8:]), vsize: le.Uint32(p[12:])}
		}
		begin := uint64(at) + uint64(e.pos) // #nosec G115 -- at is small and positive
		key, end := begin+uint64(e.ksize), begin+uint64(e.ksize)+uint64(e.vsize)
		if begin < uint64(pageHeader*(1+count)) || end > uint64(len(b)) { // #nosec G115 -- both positive
			return fmt.Errorf("element %d lies outside of it", i)
		}
		if i > 0 && bytes.Compare(last, b[begin:key]) >= 0 {
			return fmt.Errorf("element %d is out of order", i)
		}
		last = b[begin:key]
		if err := visit(e, b[key:end]); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) branch(b []byte, depth int) error {
	if binary.LittleEndian.Uint16(b[10:]) == 0 {
		return errors.New("a branch without children")
	}
	return elements(b, false, func(e element, _ []byte) error { return w.tree(e.child, depth+1) })
}

// leaf checks keys and values, and the buckets among them.
func (w *walker) leaf(b []byte, depth int, inline bool) error {
	return elements(b, true, func(e element, value []byte) error {
		switch {
		case e.flags == 0:
			return nil
		case e.flags != 1 || inline || len(value) < 16:
			return errors.New("a bucket is wrong")
		}
		if root := binary.LittleEndian.Uint64(value); root != 0 {
			return w.tree(root, depth+1)
		}
		in := value[16:]
		if len(in) < pageHeader || binary.LittleEndian.Uint16(in[8:]) != flagLeaf {
			return errors.New("a small bucket is wrong")
		}
		return w.leaf(in, depth+1, true)
	})
}

// freelist wants every page either used or free.
func (w *walker) freelist(id uint64) error {
	b, err := w.page(id)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint16(b[8:]) != flagFreelist {
		return errors.New("the freelist is wrong")
	}
	count, at := uint64(le.Uint16(b[10:])), uint64(pageHeader)
	if count == 0xFFFF {
		count, at = le.Uint64(b[at:]), at+8
	}
	if count > (uint64(len(b))-at)/8 {
		return errors.New("the freelist is longer than its page")
	}
	for i := range count {
		free := le.Uint64(b[at+8*i:])
		if free < 2 || free >= w.pages || w.seen[free] {
			return fmt.Errorf("the freelist names page %d, which isn't free", free)
		}
		w.seen[free] = true
	}
	if n := uint64(len(w.seen)); n != w.pages-2 {
		return fmt.Errorf("%d pages are neither used nor free", w.pages-2-n)
	}
	return nil
}
