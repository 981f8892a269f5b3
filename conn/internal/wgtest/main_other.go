//go:build !linux

package wgtest

import (
	"os"
	"testing"
)

// Main is for a package's TestMain.
func Main(m *testing.M) { os.Exit(m.Run()) }
