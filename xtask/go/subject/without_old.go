//go:build !go1.21

package main

import "context"

// Older releases have none.
func without(context.Context) context.Context { return nil }
