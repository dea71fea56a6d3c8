package load

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"pgapp/appliance"
)

const (
	// longest is the longest time that a histogram holds; longer ones count as this.
	longest = 10 * time.Minute
	// digits is the number of significant digits of a histogram.
	digits = 3
)

// histogram is a distribution of times in microseconds.
type histogram struct{ *hdrhistogram.Histogram }

func newHistogram() histogram {
	return histogram{hdrhistogram.New(1, longest.Microseconds(), digits)}
}

func (h histogram) add(d time.Duration) {
	_ = h.RecordValue(min(max(d.Microseconds(), 1), longest.Microseconds())) // it is in range
}

// millis is a percentile.
func (h histogram) millis(percentile float64) float64 {
	return inMillis(h.ValueAtPercentile(percentile))
}

func inMillis(micros int64) float64 { return float64(micros) / 1000 }

func (h histogram) latency() (appliance.BenchLatency, error) {
	l := appliance.BenchLatency{
		Count: h.TotalCount(), Mean: h.Mean() / 1000, P50: h.millis(50), P90: h.millis(90), P95: h.millis(95),
		P99: h.millis(99), P999: h.millis(99.9), Max: inMillis(h.Max()),
	}
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return l, fmt.Errorf("writing a histogram: %w", err)
	}
	l.Histogram = string(text)
	return l, nil
}
