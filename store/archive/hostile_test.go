package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/store"
)

// hostile is what the cases are made of: the parts of a sound archive.
type hostile struct {
	t     *testing.T
	m     Manifest
	state []byte
	outer string // a directory beside the target that must stay as it is
}

func part(name string, data []byte) Part {
	sum := sha256.Sum256(data)
	return Part{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
}

// tar makes a plain archive of the manifest as it is now and the entries.
func (h hostile) tar(entries ...entry) []byte {
	return rawTar(h.t, append([]entry{manifestEntry(h.t, h.m)}, entries...)...)
}

// with announces another part.
func (h hostile) with(p Part) hostile {
	h.m.Parts = append([]Part{p}, h.m.Parts...)
	return h
}

func (h hostile) good() entry { return file(StateName, h.state) }

// resum announces the state as it is now.
func (h hostile) resum(state []byte) hostile {
	h.state = state
	h.m.Parts = []Part{part(StateName, state)}
	return h
}

func link(typeflag byte, name, to string) entry {
	return entry{tar.Header{Typeflag: typeflag, Name: name, Linkname: to, Mode: 0o600}, nil}
}

// cases are the archives that must be refused, and how.
func cases() map[string]struct {
	want appliance.ErrorID
	make func(h hostile) []byte
} {
	type c = struct {
		want appliance.ErrorID
		make func(h hostile) []byte
	}
	return map[string]c{
		"nothing":    {ErrInvalid, func(hostile) []byte { return nil }},
		"one byte":   {ErrInvalid, func(hostile) []byte { return []byte{0} }},
		"text":       {ErrInvalid, func(hostile) []byte { return bytes.Repeat([]byte("no archive\n"), 1000) }},
		"only zeros": {ErrInvalid, func(hostile) []byte { return make([]byte, 10240) }},

		"zip slip": {ErrInvalid, func(h hostile) []byte {
			return h.with(part("../outer/evil", []byte("x"))).tar(file("../outer/evil", []byte("x")), h.good())
		}},
		"zip slip unannounced": {ErrInvalid, func(h hostile) []byte { return h.tar(file("../outer/evil", []byte("x")), h.good()) }},
		"absolute": {ErrInvalid, func(h hostile) []byte {
			return h.with(part(h.outer+"/evil", []byte("x"))).tar(file(h.outer+"/evil", []byte("x")), h.good())
		}},
		"below a directory": {ErrInvalid, func(h hostile) []byte {
			return h.with(part("a/b", []byte("x"))).tar(file("a/b", []byte("x")), h.good())
		}},
		"dot":           {ErrInvalid, func(h hostile) []byte { return h.with(part(".", nil)).tar(h.good()) }},
		"empty name":    {ErrInvalid, func(h hostile) []byte { return h.with(part("", nil)).tar(h.good()) }},
		"newline":       {ErrInvalid, func(h hostile) []byte { return h.with(part("a\nb", nil)).tar(h.good()) }},
		"backslash":     {ErrInvalid, func(h hostile) []byte { return h.with(part(`..\a`, nil)).tar(h.good()) }},
		"upper case":    {ErrInvalid, func(h hostile) []byte { return h.with(part("State.DB", nil)).tar(h.good()) }},
		"very long":     {ErrInvalid, func(h hostile) []byte { return h.with(part(strings.Repeat("a", 65), nil)).tar(h.good()) }},
		"odd prefix":    {ErrInvalid, func(h hostile) []byte { return h.tar(file("./"+StateName, h.state)) }},
		"hidden":        {ErrInvalid, func(h hostile) []byte { return h.with(part(".bashrc", nil)).tar(h.good()) }},
		"manifest part": {ErrInvalid, func(h hostile) []byte { return h.with(part(ManifestName, nil)).tar(h.good()) }},

		"symlink, then written through": {ErrInvalid, func(h hostile) []byte {
			return h.with(part("a", []byte("x"))).tar(link(tar.TypeSymlink, "a", h.outer+"/evil"), file("a", []byte("x")), h.good())
		}},
		"state is a symlink":  {ErrInvalid, func(h hostile) []byte { return h.tar(link(tar.TypeSymlink, StateName, "/etc/passwd")) }},
		"state is a hardlink": {ErrInvalid, func(h hostile) []byte { return h.tar(link(tar.TypeLink, StateName, ManifestName)) }},
		"state is a fifo":     {ErrInvalid, func(h hostile) []byte { return h.tar(link(tar.TypeFifo, StateName, "")) }},
		"state is a device":   {ErrInvalid, func(h hostile) []byte { return h.tar(link(tar.TypeBlock, StateName, "")) }},
		"state is a directory": {ErrInvalid, func(h hostile) []byte {
			return h.tar(link(tar.TypeDir, StateName+"/", ""), h.good())
		}},
		"manifest is a symlink": {ErrInvalid, func(h hostile) []byte { return rawTar(h.t, link(tar.TypeSymlink, ManifestName, "/etc/passwd")) }},

		"state twice":           {ErrInvalid, func(h hostile) []byte { return h.tar(h.good(), h.good()) }},
		"announced twice":       {ErrInvalid, func(h hostile) []byte { return h.with(h.m.Parts[0]).tar(h.good()) }},
		"manifest twice":        {ErrInvalid, func(h hostile) []byte { return h.tar(manifestEntry(h.t, h.m), h.good()) }},
		"manifest last":         {ErrInvalid, func(h hostile) []byte { return rawTar(h.t, h.good(), manifestEntry(h.t, h.m)) }},
		"no manifest":           {ErrInvalid, func(h hostile) []byte { return rawTar(h.t, h.good()) }},
		"state missing":         {ErrInvalid, func(h hostile) []byte { return h.tar() }},
		"announced, missing":    {ErrInvalid, func(h hostile) []byte { return h.with(part("a", nil)).tar(h.good()) }},
		"state not announced":   {ErrInvalid, func(h hostile) []byte { h.m.Parts = nil; return h.tar(h.good()) }},
		"unannounced part":      {ErrInvalid, func(h hostile) []byte { return h.tar(h.good(), file("a", []byte("x"))) }},
		"too many parts":        {ErrInvalid, func(h hostile) []byte { h.m.Parts = make([]Part, 17); return h.tar() }},
		"something follows":     {ErrInvalid, func(h hostile) []byte { return append(h.tar(h.good()), "more"...) }},
		"endless zeros follow":  {ErrInvalid, func(h hostile) []byte { return append(h.tar(h.good()), make([]byte, maxPadding+1)...) }},
		"cut off":               {ErrInvalid, func(h hostile) []byte { b := h.tar(h.good()); return b[:len(b)/2] }},
		"cut off in a header":   {ErrInvalid, func(h hostile) []byte { return h.tar(h.good())[:1300] }},
		"cut off after a part":  {ErrInvalid, func(h hostile) []byte { return h.with(part("a", nil)).tar(h.good(), file("a", nil))[:len(h.tar())] }},
		"larger than announced": {ErrInvalid, func(h hostile) []byte { return h.tar(file(StateName, append(h.state, 0))) }},
		"less than announced":   {ErrInvalid, func(h hostile) []byte { return h.tar(file(StateName, h.state[1:])) }},
		"wrong hash":            {ErrInvalid, func(h hostile) []byte { h.state[len(h.state)-1]++; return h.tar(h.good()) }},
		"no hash":               {ErrInvalid, func(h hostile) []byte { h.m.Parts[0].SHA256 = ""; return h.tar(h.good()) }},
		"negative size":         {ErrInvalid, func(h hostile) []byte { h.m.Parts[0].Size = -1; return h.tar(h.good()) }},
		"announces terabytes":   {ErrInvalid, func(h hostile) []byte { h.m.Parts[0].Size = 1 << 40; return h.tar(h.good()) }},
		"sizes overflow": {ErrInvalid, func(h hostile) []byte {
			big := Part{Name: "a", Size: 1<<63 - 1, SHA256: h.m.Parts[0].SHA256}
			return h.with(big).tar(h.good())
		}},
		"huge manifest": {ErrInvalid, func(h hostile) []byte {
			return rawTar(h.t, file(ManifestName, bytes.Repeat([]byte(" "), maxManifestBytes+1)), h.good())
		}},
		"manifest is a list": {ErrInvalid, func(h hostile) []byte { return rawTar(h.t, manifestEntry(h.t, []int{1}), h.good()) }},
		"manifest is cut":    {ErrInvalid, func(h hostile) []byte { return rawTar(h.t, file(ManifestName, []byte(`{"format":1`)), h.good()) }},
		"manifest is too deep": {ErrInvalid, func(h hostile) []byte {
			return rawTar(h.t, file(ManifestName, bytes.Repeat([]byte("["), 100_000)), h.good())
		}},
		"format 0":              {ErrInvalid, func(h hostile) []byte { h.m.Format = 0; return h.tar(h.good()) }},
		"newer format":          {appliance.ErrStoreNewer, func(h hostile) []byte { h.m.Format = 2; return h.tar(h.good()) }},
		"newer schema":          {appliance.ErrStoreNewer, func(h hostile) []byte { h.m.SchemaVersion = store.SchemaVersion + 1; return h.tar(h.good()) }},
		"instance is another":   {ErrInvalid, func(h hostile) []byte { h.m.Instance = "another"; return h.tar(h.good()) }},
		"epoch is made up":      {ErrInvalid, func(h hostile) []byte { h.m.Epochs["uuid-main"] = 99; return h.tar(h.good()) }},
		"highest epoch made up": {ErrInvalid, func(h hostile) []byte { h.m.Epoch = 99; return h.tar(h.good()) }},
		"cluster is made up":    {ErrInvalid, func(h hostile) []byte { h.m.Epochs["x"] = 0; return h.tar(h.good()) }},

		"state is empty": {appliance.ErrStoreDamaged, func(h hostile) []byte { h = h.resum(nil); return h.tar(h.good()) }},
		"state is text":  {appliance.ErrStoreDamaged, func(h hostile) []byte { h = h.resum([]byte("no database")); return h.tar(h.good()) }},
		"state with a corrupt page": {appliance.ErrStoreDamaged, func(h hostile) []byte {
			copy(h.state[3*4096:], bytes.Repeat([]byte{0xFF}, 64))
			h = h.resum(h.state)
			return h.tar(h.good())
		}},
		"state with a flipped value": {appliance.ErrStoreDamaged, func(h hostile) []byte {
			at := bytes.LastIndex(h.state, []byte(`"revision"`))
			h.state[at+2] ^= 1
			h = h.resum(h.state)
			return h.tar(h.good())
		}},
		"state cut off": {appliance.ErrStoreDamaged, func(h hostile) []byte { h = h.resum(h.state[:8192]); return h.tar(h.good()) }},
	}
}

// TestHostile reads archives that somebody made to do harm: each is refused,
// plain and sealed, and leaves nothing.
func TestHostile(t *testing.T) {
	t.Parallel()
	plain, m := sealed(t, newStore(t), Plaintext())
	state := stateOf(t, plain)
	for name, c := range cases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			outer, dest := filepath.Join(dir, "outer"), filepath.Join(dir, "in", "unpacked")
			if err := errors.Join(os.Mkdir(outer, 0o700), os.Mkdir(filepath.Dir(dest), 0o700)); err != nil {
				t.Fatal(err)
			}
			fresh := m
			fresh.Parts = append([]Part(nil), m.Parts...)
			fresh.Epochs = map[string]uint64{"uuid-main": 1}
			file := c.make(hostile{t, fresh, bytes.Clone(state), outer})
			for kind, b := range map[string][]byte{"plain": file, "sealed": sealBytes(t, file)} {
				_, err := Read(t.Context(), bytes.NewReader(b), Keys{Passphrase: appliance.NewSecret("p")}, dest, Limits{})
				if !appliance.IsProblem(err, c.want) {
					t.Errorf("%s: error %v, want a problem %s", kind, err, c.want)
				}
				wantNothing(t, dest)
			}
			if left, _ := os.ReadDir(outer); len(left) != 0 {
				t.Errorf("the archive wrote beside its target: %v", left)
			}
		})
	}
}

// TestHostileMakerIsSound proves that the cases fail for their own fault.
func TestHostileMakerIsSound(t *testing.T) {
	t.Parallel()
	plain, m := sealed(t, newStore(t), Plaintext())
	h := hostile{t: t, m: m, state: stateOf(t, plain)}
	extra := h.with(part("a", []byte("x")))
	for name, b := range map[string][]byte{
		"plain": h.tar(h.good()), "sealed": sealBytes(t, h.tar(h.good())), "padded": append(h.tar(h.good()), make([]byte, 9000)...),
		"with another part": extra.tar(file("a", []byte("x")), h.good()), "in another order": extra.tar(h.good(), file("a", []byte("x"))),
	} {
		dest := filepath.Join(t.TempDir(), "unpacked")
		if _, err := Read(t.Context(), bytes.NewReader(b), Keys{Passphrase: appliance.NewSecret("p")}, dest, Limits{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func sealBytes(t *testing.T, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := passphrase("p").wrap(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSealBroken alters and cuts a sealed archive everywhere.
func TestSealBroken(t *testing.T) {
	t.Parallel()
	identity, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	whole, _ := sealed(t, newStore(t), ForRecipients(recipient))
	keys := Keys{Identities: identity}
	dir := t.TempDir()
	try := func(what string, b []byte) {
		dest := filepath.Join(dir, "unpacked")
		_, err := Read(t.Context(), bytes.NewReader(b), keys, dest, Limits{})
		if !appliance.IsProblem(err, ErrInvalid) && !appliance.IsProblem(err, ErrKey) {
			t.Errorf("%s: %v", what, err)
		}
		wantNothing(t, dest)
	}
	for at := 0; at < len(whole); at += 1 + len(whole)/150 {
		b := bytes.Clone(whole)
		b[at] ^= 4
		try(fmt.Sprintf("bit flipped in byte %d of %d", at, len(whole)), b)
		try(fmt.Sprintf("cut at byte %d of %d", at, len(whole)), whole[:at])
	}
	try("cut by one byte", whole[:len(whole)-1])
	try("one byte more", append(bytes.Clone(whole), 0))
}

// TestBombs read what costs much: limits end them early.
func TestBombs(t *testing.T) {
	t.Parallel()
	plain, m := sealed(t, newStore(t), Plaintext())
	h := hostile{t: t, m: m, state: stateOf(t, plain)}
	lim := Limits{ArchiveBytes: 1 << 20, PartBytes: 1 << 20, TotalBytes: 1 << 20, Parts: 2, ScryptLogN: 12}
	tenGiB := int64(10 << 30)
	sparse := rawTar(t, manifestEntry(t, h.m), entry{tar.Header{
		Typeflag: tar.TypeReg, Name: StateName, Mode: 0o600, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"PGAPP.test": "x"},
	}, nil})
	// The writer refuses GNU.sparse keys: put them into the bytes afterwards.
	sparse = bytes.ReplaceAll(sparse, []byte("PGAPP.test=x"), []byte("GNU.sparse=x"))
	big := h.m
	big.Parts = []Part{{Name: StateName, Size: tenGiB, SHA256: h.m.Parts[0].SHA256}}
	heavy := bytes.Buffer{}
	w, err := Seal{passphrase: appliance.NewSecret("p"), logN: 13}.wrap(&heavy)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	million := io.MultiReader(bytes.NewReader(rawTar(t, manifestEntry(t, h.m))[:1536]), &entries{data: rawTar(t, file("a", nil))[:512]})
	for name, r := range map[string]io.Reader{
		"10 GiB of zeros, announced":  io.MultiReader(bytes.NewReader(rawTar(t, manifestEntry(t, big))[:1536]), zeros{}),
		"10 GiB of zeros, in the tar": io.MultiReader(bytes.NewReader(cutHeader(t, h, tenGiB)), zeros{}),
		"endless zeros":               zeros{},
		"sparse file":                 bytes.NewReader(sparse),
		"a million entries":           million,
		"endless age header":          io.MultiReader(strings.NewReader(ageIntro+"v1\n-> "), letters{}),
		"costly passphrase":           &heavy,
	} {
		dest := filepath.Join(t.TempDir(), "unpacked")
		counted := &counting{r: r}
		_, err := Read(t.Context(), counted, Keys{Passphrase: appliance.NewSecret("p")}, dest, lim)
		wantID(t, err, ErrInvalid)
		wantNothing(t, dest)
		if counted.n > lim.ArchiveBytes+1 {
			t.Errorf("%s: %d bytes were read", name, counted.n)
		}
	}
	exact := h.tar(h.good())
	lim.ArchiveBytes = int64(len(exact)) - 1024 // the limit hits within the last entry's end
	lim.ArchiveBytes -= 512
	_, err = Read(t.Context(), bytes.NewReader(exact), Keys{}, filepath.Join(t.TempDir(), "x"), lim)
	wantID(t, err, ErrInvalid)
}

// cutHeader is an archive up to the header of a state that says size.
func cutHeader(t *testing.T, h hostile, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	m := manifestEntry(t, h.m)
	if err := w.WriteHeader(&m.Header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(m.data); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: StateName, Size: size, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// entries repeats one block of a tar.
type entries struct {
	data []byte
	at   int
}

func (e *entries) Read(p []byte) (int, error) {
	n := copy(p, e.data[e.at:])
	e.at = (e.at + n) % len(e.data)
	return n, nil
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// TestSourceFails tells a failing source and a cancellation from a bad archive.
func TestSourceFails(t *testing.T) {
	t.Parallel()
	plain, _ := sealed(t, newStore(t), Plaintext())
	broken := errors.New("connection reset")
	dir := t.TempDir()
	dest := filepath.Join(dir, "unpacked")
	for _, at := range []int{0, 10, 700, 2000, len(plain) - 5} {
		r := io.MultiReader(bytes.NewReader(plain[:at]), &failing{r: failingReader{broken}})
		_, err := Read(t.Context(), r, Keys{}, dest, Limits{})
		if !errors.Is(err, broken) || appliance.IsProblem(err, ErrInvalid) {
			t.Errorf("failing at %d: %v, want the source's own error", at, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r = io.MultiReader(bytes.NewReader(plain[:at]), cancelReader(cancel))
		if _, err := Read(ctx, r, Keys{}, dest, Limits{}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %d: %v", at, err)
		}
		wantNothing(t, dest)
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// cancelReader cancels at the first read, and then gives zeros for ever.
type cancelReader context.CancelFunc

func (c cancelReader) Read(p []byte) (int, error) { c(); clear(p); return len(p), nil }
