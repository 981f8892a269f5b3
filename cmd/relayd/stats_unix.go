//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyStats has c get the signal that asks for statistics.
func notifyStats(c chan<- os.Signal) { signal.Notify(c, syscall.SIGUSR1) }
