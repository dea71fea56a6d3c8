package endpoint

// move moves bytes in both directions until both have ended.
func (c *conn) move() {
	c.ends.Lock()
	if c.closed {
		c.ends.Unlock()
		return
	}
	pair, err := c.e.s.relay.Start(c.client, c.server)
	c.pair = pair
	c.closed = err != nil
	c.ends.Unlock()
	if err != nil {
		c.e.s.log.Error("a connection was closed", "cluster", c.e.cluster, "endpoint", c.e.role, "err", err)
		return
	}
	<-pair.Done()
}
