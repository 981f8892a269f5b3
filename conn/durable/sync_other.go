//go:build !unix

package durable

// syncDir has nothing to do: directories cannot be synced here, and need not.
func syncDir(string) error { return nil }
