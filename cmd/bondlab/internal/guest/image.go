//go:build linux

package guest

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// Dir is where .ci/install-test-deps unpacks Debian's packages of the kernel
// and of busybox, unless WGBOND_GUEST names another place. Nothing of them is
// installed.
const Dir = "/var/cache/wg-bond/guest"

// ErrMissing says that this machine lacks what guests are made of.
var ErrMissing = errors.New("no guest can be booted here")

// Parts is what guests are made of, each the path of a file here.
type Parts struct {
	Qemu, Kernel, Busybox, WG string
	modules                   map[string]string // by name, as wireguard
}

// Find looks for the parts. The error is ErrMissing and says what to do.
func Find() (*Parts, error) {
	dir := os.Getenv("WGBOND_GUEST")
	if dir == "" {
		dir = Dir
	}
	p := &Parts{modules: map[string]string{}}
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("%w: this machine is %s, its kernel image is for amd64", ErrMissing, runtime.GOARCH)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return nil, fmt.Errorf("%w: no TAP devices: %w", ErrMissing, err)
	}
	for _, c := range []struct {
		into     *string
		patterns string // below dir, for the layouts of older and newer packages
	}{
		{&p.Kernel, "boot/vmlinuz-*"},
		{&p.Busybox, "bin/busybox usr/bin/busybox"},
	} {
		for pattern := range strings.FieldsSeq(c.patterns) {
			if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 {
				*c.into = found[0]
			}
		}
		if *c.into == "" {
			return nil, fmt.Errorf("%w: there is no %s in %s; run .ci/install-test-deps as root, on Debian for amd64", ErrMissing, c.patterns, dir)
		}
	}
	for name, into := range map[string]*string{"qemu-system-x86_64": &p.Qemu, "wg": &p.WG} {
		var err error
		if *into, err = exec.LookPath(name); err != nil {
			return nil, fmt.Errorf("%w: %w; run .ci/install-test-deps as root", ErrMissing, err)
		}
	}
	return p, filepath.WalkDir(dir, func(file string, _ os.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(file), ".ko"); ok {
			p.modules[strings.ReplaceAll(name, "-", "_")] = file
		}
		return err
	})
}

// wanted are the modules that a guest loads.
var wanted = []string{"virtio_pci", "virtio_net", "tun", "wireguard"}

// load lists the files of the modules called names and of all that they depend
// on, in the order in which they are loaded.
func (p *Parts) load(names ...string) (files []string, err error) {
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		if name == "" || seen[name] {
			return nil
		}
		seen[name] = true
		file := p.modules[name]
		if file == "" {
			return fmt.Errorf("the kernel's package has no module %s", name)
		}
		depends, err := dependencies(file)
		for _, d := range depends {
			err = errors.Join(err, visit(d))
		}
		files = append(files, file)
		return err
	}
	for _, name := range names {
		err = errors.Join(err, visit(name))
	}
	return files, err
}

// dependencies reads what a kernel module says that it depends on.
func dependencies(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("%s: no section .modinfo", file)
	}
	data, err := s.Data()
	for field := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(list, ","), err
		}
	}
	return nil, err
}

// absolute finds the files in what ldd(1) prints.
var absolute = regexp.MustCompile(`(?m)(?:^\s*|=> )(/\S+) \(`)

// libraries lists what a program is linked with.
func libraries(program string) []string {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil // "not a dynamic executable"
	}
	var files []string
	for _, m := range absolute.FindAllStringSubmatch(string(out), -1) {
		files = append(files, m[1])
	}
	return files
}

// Initramfs writes a guest's whole file system to a file: busybox under all its
// names, wg, the modules, and what the caller adds, by the name that it
// has in the guest. Programs among these get their libraries.
func (p *Parts) Initramfs(to string, extra map[string]string) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	a := &archive{w: w, made: map[string]bool{}}
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "run", "var/run"} {
		a.directory(dir)
	}
	modules, err := p.load(wanted...)
	if err != nil {
		return err
	}
	files := map[string]string{"bin/busybox": p.Busybox, "bin/wg": p.WG}
	var insmod strings.Builder
	for _, m := range modules {
		files["lib/modules/"+filepath.Base(m)] = m
		fmt.Fprintf(&insmod, "insmod /lib/modules/%s\n", filepath.Base(m))
	}
	for name, file := range extra {
		files[name] = file
	}
	for name, file := range files {
		if path.Dir(name) != "bin" {
			continue
		}
		for _, lib := range libraries(file) {
			files[strings.TrimPrefix(lib, "/")] = lib
		}
	}
	for name, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		a.file(name, 0o755, content)
	}
	a.file("init", 0o755, []byte(fmt.Sprintf(initScript, &insmod, agentPort)))
	return errors.Join(a.close(), w.Flush())
}

// initScript is the guest's process 1. The kernel puts the unknown words of its
// command line into the environment: address, gateway.
const initScript = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd/0 /dev/stdin
mkdir -p /dev/net
%s
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
ip link set lo up
ip address add $address dev eth0
ip link set eth0 up
ip route add default via $gateway
while :; do nc -ll -p %d -e sh; done
`
