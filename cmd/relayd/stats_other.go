//go:build !unix

package main

import "os"

// notifyStats does nothing: there is no such signal here.
func notifyStats(chan<- os.Signal) {}
