package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/wg-bond/wg-bond/cmd/internal/ctl"
	background "github.com/wg-bond/wg-bond/cmd/internal/daemon"
	"github.com/wg-bond/wg-bond/cmd/internal/metrics"
	"github.com/wg-bond/wg-bond/cmd/internal/metrics/at"
	"github.com/wg-bond/wg-bond/relayd"
)

// auditMost is how large an audit log becomes, MiB. A line of a lease is some 300
// bytes: the files hold a year's of a busy lender.
const auditMost = 10

type runCommand struct {
	Config   string     `short:"c" placeholder:"FILE" type:"path" help:"Read the settings from a file."`
	LogLevel slog.Level `placeholder:"LEVEL" default:"info" help:"How much to log: debug, info, warn or error."`
	Metrics  string     `placeholder:"ADDRESS" help:"Serve metrics for Prometheus at ADDRESS of loopback, like 127.0.0.1:9587, or at unix:/PATH, whatever the file says."`

	settings `prefix:"" group:"Settings, instead of a file:"`
}

// Help is what --help says besides.
func (runCommand) Help() string {
	return "SIGTERM ends all leases, tells the borrowers, and quits. SIGUSR1 writes statistics to the log, on standard error."
}

// Run runs the command.
func (c *runCommand) Run() error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	cfg, err := c.config()
	if err != nil {
		return err
	}
	for _, file := range []string{c.Config, c.PrivateKeyFile} {
		if info, err := os.Stat(file); file != "" && err == nil && info.Mode().Perm()&0o007 != 0 {
			log.Warn("everybody on this machine may read the file; chmod 600 prevents that", "file", file)
		}
	}
	if cfg.Device != "" {
		if _, err := net.InterfaceByName(cfg.Device); err != nil {
			log.Warn("the device to lend is not there; leases are refused until it is", "device", cfg.Device)
		}
	}
	cfg.Log = log
	cfg.Tunnel = isTunnel
	if cfg.StateDir != "" {
		if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
			return err
		}
	}
	if cfg.AuditFile != "" {
		audit := &lumberjack.Logger{Filename: cfg.AuditFile, MaxSize: auditMost, MaxBackups: 5, Compress: true}
		defer audit.Close()
		cfg.Audit = slog.New(slog.NewJSONHandler(audit, nil))
	}
	r, err := relayd.New(cfg.Config)
	if err != nil {
		return err
	}
	d := &daemon{cfg: cfg, relay: r}
	server, err := ctl.Listen(cfg.Control, d.operations())
	if err != nil {
		log.Warn("invitations cannot be made while this relayd runs", "error", err)
	} else {
		defer server.Close()
	}
	if c.Metrics != "" {
		if cfg.Metrics, err = at.Parse(c.Metrics); err != nil {
			return fmt.Errorf("--metrics: %w", err)
		}
	}
	told, err := metrics.Serve(cfg.Metrics, metrics.Relayd(r.Stats))
	if err != nil {
		return err
	}
	defer told.Close()
	if err := confine(cfg, log); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	asked := make(chan os.Signal, 1)
	notifyStats(asked)
	defer signal.Stop(asked)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-asked:
				log.Info("statistics", "stats", r.Stats())
			}
		}
	}()
	log.Info("lending", "listen", r.Addrs(), "device", cfg.Device, "public-key", cfg.PrivateKey.Public().String(), "borrowers", len(cfg.Allow))
	background.Notify(background.Ready)
	defer context.AfterFunc(ctx, func() { background.Notify(background.Stopping) })()
	var announcing sync.WaitGroup
	announcing.Go(func() { d.announce(ctx, log) })
	err = r.Run(ctx)
	stop()
	announcing.Wait()
	log.Info("stopped", "stats", r.Stats())
	return err
}

// config reads the file or the flags.
func (c *runCommand) config() (*config, error) {
	switch {
	case c.Config == "":
		return c.settings.config()
	case c.settings.given():
		return nil, errors.New("settings come from --config or from flags, not from both: put all of them into the file")
	}
	return loadConfig(c.Config)
}
