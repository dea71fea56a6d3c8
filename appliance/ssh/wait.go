package ssh

import (
	"context"
	"time"
)

const (
	pollEvery = 100 * time.Millisecond
	// connectTry is short, since a booting machine may drop a SYN.
	connectTry = time.Second
	// sshd counts refused keys against the source address (PerSourcePenalties,
	// OpenSSH 9.8), so refused logins are repeated more slowly than the poll.
	firstAuthPause = 500 * time.Millisecond
	lastAuthPause  = 5 * time.Second
)

// WaitReady returns nil after a successful login, or the last failure when ctx
// ends. A wrong host key is returned at once. onTry gets the reason of every
// failed attempt and may be nil.
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
			// A failure by the deadline itself tells nothing about the machine.
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

// over tells whether the deadline has passed; ctx.Err may follow a moment later.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
