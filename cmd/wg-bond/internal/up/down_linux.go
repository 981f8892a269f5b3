package up

import (
	"context"
	"errors"
	"fmt"
	"os"

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
	}
	ctx := context.Background()
	i := &files.WireGuard.Interface
	if err := quick.Hooks(ctx, host, files.Name, i.PreDown, Trace); err != nil {
		return fmt.Errorf("%w; %s stays up", err, files.Name)
	}
	if i.SaveConfig {
		device, err := uapi.Get(files.Name)
		if err == nil {
			err = saveConfig(host, files, device)
		}
		if err != nil {
			return fmt.Errorf("%w; %s stays up", err, files.Name)
		}
	}
	fmt.Fprintf(os.Stderr, "[#] ip link delete dev %s\n", files.Name)
	if err := ctl.Call(socket, "down", nil); err != nil {
		return err
	}
	return quick.Hooks(ctx, host, files.Name, i.PostDown, Trace)
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
		quick.Hooks(context.Background(), host, name, files.WireGuard.Interface.PostDown, Trace),
	)
}
