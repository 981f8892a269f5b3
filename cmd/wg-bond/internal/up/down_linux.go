package up

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	"github.com/wg-bond/wg-bond/cmd/internal/quick"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
)

// Down takes down the interface that arg means.
func Down(arg string) error {
	files, err := Load(arg)
	if err != nil {
		return err
	}
	if err := NeedRoot("down " + arg); err != nil {
		return err
	}
	host, err := quick.NewHost(nil)
	if err != nil {
		return err
	}
	defer host.Close()
	socket := ctl.SocketPath(files.Name)
	var is status.Interface
	err = ctl.Call(socket, "status", &is)
	switch {
	case errors.Is(err, ctl.ErrNotRunning):
		return downAfterCrash(host, files)
	case err != nil:
		return err
	case is.Role == "serve": // the interface, and its hooks, are the stock WireGuard's
		return ctl.Call(socket, "down", nil)
	case is.Role == "device":
		return fmt.Errorf("%s was not brought up by wg-bond up: `wg-quick down %s` takes it down, `ip link delete %s` if it was not wg-quick either", files.Name, files.Name, files.Name)
	}
	ctx := context.Background()
	i := &files.WireGuard.Interface
	if err := quick.Hooks(ctx, host, files.Name, "PreDown", i.PreDown, Trace); err != nil {
		return fmt.Errorf("%w; %s stays up", err, files.Name)
	}
	if i.SaveConfig {
		if err := saveCurrent(host, files); err != nil {
			return fmt.Errorf("%w; %s stays up", err, files.Name)
		}
	}
	fmt.Fprintf(os.Stderr, "[#] ip link delete dev %s\n", files.Name)
	if err := ctl.Call(socket, "down", nil); err != nil {
		return err
	}
	return quick.Hooks(ctx, host, files.Name, "PostDown", i.PostDown, Trace)
}

// Save writes what the interface that arg means is now into its file.
func Save(arg string) error {
	files, err := Load(arg)
	if err != nil {
		return err
	}
	if err := NeedRoot("save " + arg); err != nil {
		return err
	}
	host, err := quick.NewHost(nil)
	if err != nil {
		return err
	}
	defer host.Close()
	return saveCurrent(host, files)
}

func saveCurrent(host *quick.Host, files *Files) error {
	device, err := uapi.Get(files.Name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%s is not up, or is the kernel's, which `wg-quick save %s` saves; `wg-bond status` lists what is up", files.Name, files.Name)
	}
	if err != nil {
		return err
	}
	return saveConfig(host, files, device)
}

// downAfterCrash cleans up after a wg-bond that ended without doing so: the
// kernel has removed the interface, the journal knows of the rest.
func downAfterCrash(host *quick.Host, files *Files) error {
	name := files.Name
	journal, err := quick.OpenJournal(ctl.JournalPath(name))
	if err != nil {
		return err
	}
	switch {
	case host.LinkExists(name):
		return fmt.Errorf("the interface %s is not wg-bond's; `wg-quick down %s` perhaps takes it down", name, name)
	case len(journal.Undos) == 0:
		return fmt.Errorf("%s is not up; `wg-bond status` lists what is", name)
	}
	fmt.Fprintf(os.Stderr, "%s had ended without cleaning up; doing that now\n", name)
	return errors.Join(
		quick.Clean(host, journal),
		quick.Hooks(context.Background(), host, name, "PostDown", files.WireGuard.Interface.PostDown, Trace),
	)
}
