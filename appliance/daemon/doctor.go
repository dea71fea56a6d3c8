package daemon

import (
	"context"

	"pgapp/appliance"
	"pgapp/appliance/doctor"
)

// Doctor checks what this host needs for a cluster of the spec, without a
// daemon. With fix it first mends what is safe to mend, and names what it mended.
func Doctor(ctx context.Context, dir string, spec appliance.Spec, fix bool) (findings []appliance.Finding, mended []string, err error) {
	providers, closeProviders, err := providersOf(dir, nil)
	if err != nil {
		return nil, nil, err
	}
	defer closeProviders()
	var checkers []doctor.Checker
	for _, kind := range []appliance.ProviderKind{appliance.ProviderLocal, appliance.ProviderLibvirt} {
		p, ok := providers[kind]
		if ok && (spec.Provider == appliance.ProviderAuto || spec.Provider == kind) {
			checkers = append(checkers, p)
		}
	}
	findings = doctor.Run(ctx, spec, checkers...)
	if !fix {
		return findings, nil, nil
	}
	mended, failed := doctor.Fix(ctx, findings)
	return append(doctor.Run(ctx, spec, checkers...), failed...), mended, nil
}
