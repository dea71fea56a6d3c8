package daemon

import (
	"context"

	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/doctor"
	"pgapp/appliance/endpoint/kernel"
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
	checkers = append(checkers, endpointDoctor{})
	findings = doctor.Run(ctx, spec, checkers...)
	if !fix {
		return findings, nil, nil
	}
	mended, failed := doctor.Fix(ctx, findings)
	return append(doctor.Run(ctx, spec, checkers...), failed...), mended, nil
}

// endpointDoctor checks what the endpoints of a first cluster need.
type endpointDoctor struct{}

// Doctor says which ports they get.
func (endpointDoctor) Doctor(ctx context.Context, s appliance.Spec) []appliance.Finding {
	if !s.HasEndpoints() {
		return nil
	}
	out := []appliance.Finding{endpointFinding(ctx)}
	if s.Endpoint == appliance.EndpointKernel {
		out = append(out, kernelFinding(ctx))
	}
	return out
}

// kernelFinding says whether the kernel can lead connections.
func kernelFinding(ctx context.Context) appliance.Finding {
	const id = "endpoint-kernel"
	if err := kernel.Probe(ctx); err != nil {
		p := appliance.AsProblem(err)
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "%s", p.Message), "%s", p.Hint)
	}
	return doctor.Found(id, appliance.LevelPass, "the kernel can lead the endpoints' connections")
}

func endpointFinding(ctx context.Context) appliance.Finding {
	const id = "endpoint-ports"
	e, ok := control.NextEndpoints(ctx)
	if !ok {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "no pair of ports is free on %s for the endpoints", appliance.EndpointHost),
			"end other programs, or use --endpoint off")
	}
	return doctor.Found(id, appliance.LevelPass, "the endpoints of a new cluster get %s for writes and %s for reads", e.RWAddress(), e.ROAddress())
}
