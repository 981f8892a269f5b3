package quick

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/wg-bond/wg-bond/cmd/internal/uapi"
	"github.com/wg-bond/wg-bond/cmd/internal/wgconf"
)

// Hooks runs commands of a configuration's, those of key, the first that fails
// last.
func Hooks(ctx context.Context, m Machine, name, key string, commands []string, trace func(Step)) error {
	for _, command := range commands {
		hook := Hook{Device: name, Key: key, Command: command}
		trace(hook)
		if err := m.Do(ctx, hook, Undo{}); err != nil {
			return &StepError{Step: hook, Err: err}
		}
	}
	return nil
}

// Current is cfg with what the device, its addresses and its MTU are now, as
// SaveConfig = true wants it written.
func Current(cfg *wgconf.Config, device *uapi.Device, addresses []netip.Prefix, mtu int) *wgconf.Config {
	now := &wgconf.Config{Interface: cfg.Interface}
	i := &now.Interface
	i.Addresses = addresses
	if i.MTU != 0 {
		i.MTU = mtu
	}
	i.PrivateKey, i.ListenPort, i.FwMark = device.PrivateKey, device.ListenPort, device.FwMark
	for _, p := range device.Peers {
		peer := wgconf.Peer{PublicKey: p.PublicKey, PresharedKey: p.PresharedKey, AllowedIPs: p.AllowedIPs, PersistentKeepalive: p.PersistentKeepalive}
		if p.Endpoint.IsValid() {
			peer.Endpoint = wgconf.Endpoint{Host: p.Endpoint.Addr().String(), Port: p.Endpoint.Port()}
		}
		now.Peers = append(now.Peers, peer)
	}
	return now
}

// WriteConfig replaces the file at path by cfg, all or nothing, readable by
// its owner only.
func WriteConfig(path string, cfg *wgconf.Config) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("SaveConfig: %w", err)
	}
	_, err = file.WriteString(cfg.String())
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("SaveConfig: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}
