// Package quick does for `wg-bond up` what wg-quick(8) does: it brings up an
// interface with its addresses, routes, DNS and hooks, and takes all of that
// back again.
//
// What is to be done is data before it is done:
//
//	wgconf.Config ─┐
//	               ├─ Make ─→ Plan{Steps} ─ Up ─→ Machine.Do(step) … ─→ journal of Undos
//	Facts ─────────┘                        │                              │
//	(routing tables, MTUs, resolvconf)      └─ a step failed: Machine.Undo, the last first
//	                                                                       │
//	                                   Down: PreDown, the same Undos, PostDown
//
// Make is pure, so a plan can be shown (each Step prints as the command that
// would do the same) and compared in tests. Up writes what it would take to
// undo each step to a journal before it does the step, so that a crash leaves
// no rule, firewall table or DNS entry behind that the next `down` or `up`
// could not find. Only what lives outside the interface needs undoing:
// addresses and routes go with it.
//
// Versions of wg-quick differ; where they do, we follow the newest: PreUp runs
// when there is an interface already, and a hook keeps its "#".
//
// Differences from wg-quick, all on purpose:
//   - `down` removes exactly the policy rules that `up` added, by priority.
//     wg-quick removes every "suppress_prefixlength 0" rule, its neighbours'
//     too.
//   - The MTU is derived from the paths, not from the route to the endpoint.
//   - SaveConfig and save keep search domains, which wg-quick forgets.
//   - The firewall is always nftables', through netlink. wg-quick falls back
//     to iptables where there is no program nft, which we do not need.
package quick

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ConfigDir is where a bare interface name is looked up.
const ConfigDir = "/etc/wireguard"

var nameShape = regexp.MustCompile(`^[a-zA-Z0-9_=+.-]{1,15}$`)

// ValidName reports whether wg-quick(8) takes name for an interface's.
func ValidName(name string) bool { return nameShape.MatchString(name) && name != "." && name != ".." }

// Locate finds the configuration that a command line means: NAME, which is
// ConfigDir/NAME.conf, or the path of a file NAME.conf. It answers the
// interface's name and the file's absolute path, links followed.
func Locate(arg string) (name, path string, err error) {
	path = arg
	if ValidName(arg) {
		if name, ok := strings.CutSuffix(arg, ".conf"); !ok || name == "" {
			path = filepath.Join(ConfigDir, arg+".conf")
		} else if _, err := os.Stat(arg); err != nil {
			path = filepath.Join(ConfigDir, arg+".conf")
		}
	}
	base := filepath.Base(path)
	name, ok := strings.CutSuffix(base, ".conf")
	if !ok || !ValidName(name) {
		return "", "", fmt.Errorf("%q names no interface: found %q; want a file NAME.conf, where NAME has 1 to 15 letters, digits and _ = + . -", arg, base)
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", "", err
	}
	if _, err := os.Stat(path); err != nil {
		if os.IsNotExist(err) {
			return "", "", fmt.Errorf("there is no %s; want the name of an interface with a file in %s, or the path of a file NAME.conf", path, ConfigDir)
		}
		return "", "", unreadable(path, err)
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	return name, path, nil
}

func unreadable(path string, err error) error {
	if os.IsPermission(err) && os.Geteuid() != 0 {
		return fmt.Errorf("cannot read %s: permission denied to user %d; run it as root (sudo)", path, os.Geteuid())
	}
	return fmt.Errorf("cannot read %s: %w", path, err)
}

// Unreadable explains why the file at path could not be read, if err says so;
// any other error it returns as it is.
func Unreadable(path string, err error) error {
	if os.IsPermission(err) {
		return unreadable(path, err)
	}
	return err
}

// WorldReadable reports whether anybody on the machine can read the file at
// path, which holds a private key.
func WorldReadable(path string) bool {
	file, err := os.Stat(path)
	if err != nil {
		return false
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return false
	}
	return file.Mode()&dir.Mode()&0o007 != 0
}
