package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"pgapp/appliance"
)

// Found makes the finding of a check.
func Found(id string, level appliance.FindingLevel, format string, args ...any) appliance.Finding {
	return appliance.Finding{ID: id, Level: level, Summary: fmt.Sprintf(format, args...)}
}

// Advise returns the finding with what a person can do about it.
func Advise(f appliance.Finding, format string, args ...any) appliance.Finding {
	f.Fix = fmt.Sprintf(format, args...)
	return f
}

// OfError makes a failed check of an error, with its hint as the advice.
func OfError(id string, err error) appliance.Finding {
	p := appliance.AsProblem(err)
	return Advise(Found(id, appliance.LevelFail, "%s", p.Message), "%s", p.Hint)
}

// AvailableBytes reads from the text of /proc/meminfo how much memory programs
// can still get: the page cache counts, as it does not for libvirt.
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
