package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"pgapp/appliance"
)

// Found returns the finding of a check.
func Found(id string, level appliance.FindingLevel, format string, args ...any) appliance.Finding {
	return appliance.Finding{ID: id, Level: level, Summary: fmt.Sprintf(format, args...)}
}

// Advise returns the finding with advice for the user.
func Advise(f appliance.Finding, format string, args ...any) appliance.Finding {
	f.Fix = fmt.Sprintf(format, args...)
	return f
}

// OfError returns a failed finding for err, with the error's hint as advice.
func OfError(id string, err error) appliance.Finding {
	p := appliance.AsProblem(err)
	return Advise(Found(id, appliance.LevelFail, "%s", p.Message), "%s", p.Hint)
}

// AvailableBytes returns the memory available to programs from the text of
// /proc/meminfo, in bytes. It includes the page cache, which libvirt's free
// memory doesn't.
func AvailableBytes(meminfo []byte) (uint64, error) {
	_, rest, found := bytes.Cut(meminfo, []byte("MemAvailable:"))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, errors.New("/proc/meminfo has no MemAvailable")
	}
	kib, err := strconv.ParseUint(string(fields[0]), 10, 53)
	if err != nil {
		return 0, fmt.Errorf("reading /proc/meminfo: %w", err)
	}
	return kib << 10, nil
}
