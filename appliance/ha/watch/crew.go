package watch

import "sync"

// crew keeps the goroutines of a look for the next one: the stack of each new one has to grow
// first. A nil one keeps none.
type crew struct {
	jobs chan func()
	over <-chan struct{}
	wg   sync.WaitGroup
}

// newCrew returns a crew that ends with over.
func newCrew(over <-chan struct{}) *crew { return &crew{jobs: make(chan func()), over: over} }

// run has a goroutine that has nothing to do run f, or a new one, and tells wg when f has
// returned.
func (c *crew) run(wg *sync.WaitGroup, f func()) {
	if c == nil {
		wg.Go(f)
		return
	}
	wg.Add(1)
	job := func() {
		defer wg.Done()
		f()
	}
	select {
	case c.jobs <- job:
	default:
		c.wg.Go(func() { c.work(job) })
	}
}

func (c *crew) work(job func()) {
	for {
		job()
		select {
		case job = <-c.jobs:
		case <-c.over:
			return
		}
	}
}
