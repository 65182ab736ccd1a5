//go:build go1.21

package main

import "context"

// What outlives a request keeps its values, and not its end.
func detached(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }
