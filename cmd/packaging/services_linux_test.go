package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// boot makes the machine's systemd process 1 of a container: namespaces of its
// own, and a control group that is removed afterwards. What it ends with is not
// of interest, only that 3 means that there can be no such container here.
const boot = `
root=$1
group=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)/wgbt-systemd
mkdir "$group" || exit 3
trap 'find "$group" -depth -type d -exec rmdir {} +' EXIT
(
	sh -c 'echo $PPID' >"$group/cgroup.procs" || exit 3
	exec timeout -s KILL 300 unshare --cgroup --pid --fork --kill-child --mount --uts --ipc --net sh -c '
		mount --rbind "$1" "$1" && cd "$1" &&
		mount -t proc proc proc && mount -t sysfs -o ro sysfs sys && mount -t tmpfs tmpfs run && mount -t tmpfs tmpfs tmp &&
		mount -t cgroup2 cgroup2 sys/fs/cgroup && mkdir -p mnt/old && pivot_root . mnt/old && umount -l /mnt/old &&
		mount --make-rshared / || exit 3
		exec env -i container=docker PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd' sh "$root"
)
`

// try is what runs there: every unit is started, looked at and stopped.
const try = `#!/bin/sh
exec >/root/out 2>&1
ip link set lo up
for unit in wg-bond@wg0 wg-bond-serve@wg1 wg-bond-relayd; do
	timeout 60 systemctl start $unit
	echo "start $unit: $?"
	systemctl --no-pager --full status $unit
done
echo "hook: $(cat /run/hook-wg0)"
echo "status: $(wg-bond status | grep -c '^interface: wg[01]$') interfaces"
echo "invite: $(wg-bond-relayd invite >/dev/null && echo made)"
echo "lender: $(ps -C wg-bond-relayd -o user= | grep -vc root) without root"
for unit in wg-bond@wg0 wg-bond-serve@wg1 wg-bond-relayd; do
	[ $unit = wg-bond-relayd ] || { timeout 60 systemctl reload $unit; echo "reload $unit: $?"; }
	timeout 60 systemctl stop $unit
	echo "stop $unit: $? $(systemctl show -p Result --value $unit)"
done
journalctl --no-pager
echo end
poweroff -f
`

// services starts the three units under a systemd of their own, with all their
// hardening. m is a machine on which the packages are installed; it is not used
// for anything else afterwards.
func services(t *testing.T, m *machine) {
	m.write("etc/wireguard/wg0.conf", "[Interface]\nPrivateKey = "+privateA+"\nAddress = 10.77.0.2/24\nPostUp = echo ran > /run/hook-%i\n[Peer]\nPublicKey = "+publicB+"\nAllowedIPs = 0.0.0.0/0\nEndpoint = 10.99.1.2:51820\n")
	m.write("etc/wireguard/wg1.conf", "[Interface]\nPrivateKey = "+privateB+"\nListenPort = 51831\n[Peer]\nPublicKey = "+publicA+"\nAllowedIPs = 10.77.0.2/32\n")
	m.write("etc/wireguard/wg1.bond.toml", "[serve]\nlisten = \":51830\"\n")
	m.write("root/try", try)
	m.write("etc/systemd/system/try.service", "[Unit]\nAfter=basic.target\n[Service]\nType=oneshot\nExecStart=/bin/sh /root/try\n")
	link := func(to, name string) {
		path := filepath.Join(m.root, "etc/systemd/system", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	link("../try.service", "multi-user.target.wants/try.service")
	link("/lib/systemd/system/multi-user.target", "default.target")
	for _, other := range []string{"getty.target", "systemd-udevd.service", "systemd-timesyncd.service", "systemd-logind.service"} {
		link("/dev/null", other)
	}
	cmd := exec.Command("sh", "-c", boot, "sh", m.root)
	booted, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3 {
		t.Skipf("systemd cannot be run in a container here: %s", booted)
	}
	out, readErr := os.ReadFile(filepath.Join(m.root, "root/out"))
	if readErr != nil {
		t.Skipf("systemd does not start anything here: %v, %v\n%s", err, readErr, booted)
	}
	for _, want := range []string{
		"start wg-bond@wg0: 0", "start wg-bond-serve@wg1: 0", "start wg-bond-relayd: 0", "hook: ran", "status: 2 interfaces", "invite: made", "lender: 1 without root",
		"reload wg-bond@wg0: 0", "stop wg-bond@wg0: 0 success", "reload wg-bond-serve@wg1: 0", "stop wg-bond-serve@wg1: 0 success", "stop wg-bond-relayd: 0 success", "end",
	} {
		if !strings.Contains("\n"+string(out), "\n"+want+"\n") {
			t.Errorf("no line %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
