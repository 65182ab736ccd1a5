//go:build go1.21

package main

import "context"

// A context that is not cancelled with its parent, from Go 1.21 on.
func without(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }
