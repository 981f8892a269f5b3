package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrRefused is what every error of Find and Verify wraps.
var ErrRefused = errors.New("refused")

// Installed lists the programs in dirs by name: the first found of each.
// Directories that are not there have none.
func Installed(dirs []string) map[string]string {
	found := map[string]string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			info, err := os.Stat(path)
			if _, ok := found[e.Name()]; !ok && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				found[e.Name()] = path
			}
		}
	}
	return found
}

// Find returns the path of the plugin called name.
func Find(name string, dirs []string) (string, error) {
	if path, ok := Installed(dirs)[name]; ok {
		return path, nil
	}
	return "", fmt.Errorf("%w: there is no program %q in %s; install it there, or say path = \"…\" in [plugin.%s]",
		ErrRefused, name, strings.Join(dirs, " or "), name)
}

// Verify reports why the program at path must not be run: whoever can change
// it, or a directory on the way to it, could make us run anything. sum is its
// SHA-256 in hex, or "" if any will do. The answer holds for as long as those
// who could have changed it since, root or we ourselves, have not.
func Verify(path, sum string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%w: the plugin's path %q is relative; want an absolute one", ErrRefused, path)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("%w: the plugin %s: %w", ErrRefused, path, err)
	}
	// The way there counts as well as the file: who may write to a directory
	// may replace what is in it.
	for _, p := range []string{filepath.Clean(path), real} {
		for dir := filepath.Dir(p); ; dir = filepath.Dir(dir) {
			if err := trusted(dir); err != nil {
				return err
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	if err := trusted(real); err != nil {
		return err
	}
	info, err := os.Stat(real)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: the plugin %s is no file but %v", ErrRefused, real, info.Mode().Type())
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%w: the plugin %s is not executable: chmod 755 %s", ErrRefused, real, real)
	}
	if sum == "" {
		return nil
	}
	is, err := checksum(real)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if !strings.EqualFold(is, sum) {
		return fmt.Errorf("%w: the plugin %s has the SHA-256 %s, but the side file wants %s; if you have updated the plugin, say sha256 = %q there, otherwise install the right one again",
			ErrRefused, real, is, sum, is)
	}
	return nil
}

func checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// judge reports why a file or directory of that owner and mode cannot be
// trusted by user euid. A sticky directory may be writable by all: nobody can
// replace in it what is not his own.
func judge(path string, mode fs.FileMode, owner, euid int) error {
	what := "the file"
	if mode.IsDir() {
		what = "the directory"
	}
	if owner != 0 && owner != euid {
		return fmt.Errorf("%w: %s %s belongs to user %d, who could make it anything; it must be root's: chown root %s", ErrRefused, what, path, owner, path)
	}
	if others := mode.Perm() & 0o022; others != 0 && !(mode.IsDir() && mode&fs.ModeSticky != 0) {
		return fmt.Errorf("%w: %s %s (mode %04o) may be written by others than its owner: chmod go-w %s", ErrRefused, what, path, mode.Perm(), path)
	}
	return nil
}
