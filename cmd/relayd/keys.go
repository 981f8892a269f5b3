package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/wg-bond/wg-bond/wgbond/control"
)

type genkeyCommand struct{}

// Run runs the command.
func (genkeyCommand) Run() error {
	if info, err := os.Stdout.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		fmt.Fprintln(os.Stderr, "relayd: warning: the private key goes to a file that everybody may read; umask 077 prevents that")
	}
	k, err := control.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	_, err = fmt.Println(k.String())
	return err
}

type pubkeyCommand struct{}

// Run runs the command.
func (pubkeyCommand) Run() error {
	// A key has 44 characters. What is much longer is something else.
	text, err := io.ReadAll(io.LimitReader(os.Stdin, 4096))
	if err != nil {
		return err
	}
	k, err := control.ParseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	if k.IsZero() {
		return errors.New("standard input: the key is all zeros")
	}
	_, err = fmt.Println(k.Public().String())
	return err
}
