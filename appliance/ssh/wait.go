package ssh

import (
	"context"
	"time"

	"pgapp/appliance/wait"
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
	var notBefore time.Time
	var last error
	pause := firstAuthPause
	err := wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		if time.Now().Before(notBefore) {
			return false, nil
		}
		_, err := c.connect(ctx, connectTry)
		reason := ReasonOf(err)
		if err == nil || reason == ReasonHostKey {
			return true, err
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
		return false, nil
	})
	if err != nil && ReasonOf(err) != ReasonHostKey {
		return last // ctx has ended
	}
	return err
}

// over tells whether the deadline has passed; ctx.Err may follow a moment later.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
