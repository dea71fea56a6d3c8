package load

import (
	"math"
	"math/rand/v2"
	"sort"
	"time"
)

// zipf draws ranks from 0: rank k with a share of 1/(k+1)^s. The standard library's takes
// only exponents above 1.
type zipf struct{ upTo []float64 }

func newZipf(s float64, n int) zipf {
	z := zipf{make([]float64, n)}
	sum := 0.0
	for k := range z.upTo {
		sum += math.Pow(float64(k+1), -s)
		z.upTo[k] = sum
	}
	return z
}

func (z zipf) draw(r *rand.Rand) int {
	n := len(z.upTo)
	x := r.Float64() * z.upTo[n-1]
	return min(sort.Search(n, func(k int) bool { return z.upTo[k] > x }), n-1)
}

// chance is the source of client i's chance.
func chance(seed uint64, i int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(i))) // #nosec G404 G115 -- a load that can be repeated, no secret; i is not negative
}

// arrivals are the times at which the requests of an open loop are to begin, counted from
// the start. The gaps are exponential, as between people who don't know of each other.
type arrivals struct {
	rand *rand.Rand
	rate float64
	last time.Duration
}

// arrivalsSource is no client's.
const arrivalsSource = math.MaxInt32

func newArrivals(seed uint64, rate float64) *arrivals {
	return &arrivals{rand: chance(seed, arrivalsSource), rate: rate}
}

func (a *arrivals) next() time.Duration {
	a.last += time.Duration(a.rand.ExpFloat64() / a.rate * float64(time.Second))
	return a.last
}
