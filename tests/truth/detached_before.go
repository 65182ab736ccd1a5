//go:build !go1.21

package main

import (
	"context"
	"time"
)

// What programs wrote before context.WithoutCancel.
type withoutCancel struct{ context.Context }

func (withoutCancel) Deadline() (time.Time, bool) { return time.Time{}, false }
func (withoutCancel) Done() <-chan struct{}       { return nil }
func (withoutCancel) Err() error                  { return nil }

func detached(ctx context.Context) context.Context { return withoutCancel{ctx} }
