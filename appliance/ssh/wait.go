package ssh

import (
	"context"
	"time"
)

const (
	pollEvery = 100 * time.Millisecond
	// connectTry is short, since a machine that boots may swallow a SYN.
	connectTry = time.Second
	// sshd counts refused keys against the source address, so these are not
	// repeated at the poll's rate (PerSourcePenalties, OpenSSH 9.8).
	firstAuthPause = 500 * time.Millisecond
	lastAuthPause  = 5 * time.Second
)

// WaitReady returns when the machine lets us in, or with the last failure when
// ctx ends. A wrong host key ends it at once. onTry gets the reason of every
// failed attempt; it may be nil.
func (c *Client) WaitReady(ctx context.Context, onTry func(Reason)) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var notBefore time.Time
	var last error
	pause := firstAuthPause
	for {
		if !time.Now().Before(notBefore) {
			_, err := c.connect(ctx, connectTry)
			reason := ReasonOf(err)
			if err == nil || reason == ReasonHostKey {
				return err
			}
			// The attempt that the deadline cut short says nothing.
			if last == nil || !over(ctx) {
				last = err
			}
			if onTry != nil {
				onTry(reason)
			}
			if reason == ReasonAuth || reason == ReasonBooting {
				notBefore = time.Now().Add(pause)
				pause = min(2*pause, lastAuthPause)
			}
		}
		select {
		case <-ctx.Done():
			return last
		case <-ticker.C:
		}
	}
}

// over tells whether the deadline has passed, a moment before ctx may know.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
