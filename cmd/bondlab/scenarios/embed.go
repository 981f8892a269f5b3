// Package scenarios holds the laboratory's scenario files. A new .toml file
// here is a new scenario of `bondlab list`; package scenario explains what is
// in one.
package scenarios

import "embed"

// Files are the scenarios, NAME.toml.
//
//go:embed *.toml
var Files embed.FS
