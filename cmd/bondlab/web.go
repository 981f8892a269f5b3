//go:build linux

package main

import "github.com/wg-bond/wg-bond/cmd/bondlab/internal/web"

type webCmd struct {
	Addr string `arg:"" help:"Address and port to listen on."`
}

// Run serves files to the borrower.
func (w *webCmd) Run() error { return web.Serve(w.Addr) }
