//go:build !linux

package doctor

// kernel knows of Linux only: the checks that need it find nothing elsewhere.
func (f *Facts) kernel() {}
