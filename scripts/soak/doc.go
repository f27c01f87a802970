// Package soak plays many hosts against one collector. An ordinary test run does
// it short; make targets do it in full.
package soak
