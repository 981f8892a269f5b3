//go:build linux

package guest

import (
	"fmt"
	"io"
	"path"
)

// archive writes a cpio archive of the format "newc", which is what Linux
// unpacks as its first file system (Documentation/driver-api/early-userspace/
// buffer-format.rst). Each entry is
//
//	"070701", 13 fields of 8 hex digits, the name, NUL, up to 3 NUL, content, up to 3 NUL
//
// so that header and content end on multiples of 4 bytes.
type archive struct {
	w    io.Writer
	made map[string]bool // directories
	n    int             // entries so far: their inode numbers
	err  error           // the first
}

// The kinds of entries, as in st_mode.
const (
	kindDirectory = 0o040000
	kindRegular   = 0o100000
)

// file adds a regular file, and the directories above it.
func (a *archive) file(name string, perm int, content []byte) {
	a.directory(path.Dir(name))
	a.entry(name, kindRegular|perm, content)
}

func (a *archive) directory(name string) {
	if name == "." || a.made[name] {
		return
	}
	a.directory(path.Dir(name))
	a.made[name] = true
	a.entry(name, kindDirectory|0o755, nil)
}

func (a *archive) entry(name string, mode int, content []byte) {
	a.n++
	const links, none = 1, 0
	header := "070701"
	for _, field := range []int{
		a.n, mode, none /* uid */, none /* gid */, links, none /* mtime */, len(content),
		none, none, none, none /* devices */, len(name) + 1, none, /* checksum */
	} {
		header += fmt.Sprintf("%08x", field)
	}
	a.padded(append([]byte(header+name), 0))
	a.padded(content)
}

func (a *archive) padded(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
	if rest := len(b) % 4; a.err == nil && rest > 0 {
		_, a.err = a.w.Write(make([]byte, 4-rest))
	}
}

// close ends the archive.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}
