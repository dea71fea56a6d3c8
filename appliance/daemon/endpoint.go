package daemon

import (
	"context"
	"os"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
	"pgapp/appliance/program"
)

// Endpoint runs the process behind the endpoints of the home.
func Endpoint(ctx context.Context, dir string) error {
	return endpoint.Run(ctx, endpoint.Config{Home: dir, Build: program.BuildID(), Log: os.Stderr})
}

// KillEndpoint kills the process behind the endpoints of the home, and returns when it has
// ended. A daemon starts it again.
func KillEndpoint(ctx context.Context, dir string) error {
	c := endpoint.Client{Home: dir}
	if _, err := c.Status(ctx); err != nil { // Kill is content where none runs
		return err
	}
	return c.Kill(ctx)
}

// endpointProgram is the process of this build, to start with the routes.
func endpointProgram(dir string, routes appliance.Routes) (endpoint.Program, error) {
	self, err := program.Executable()
	if err != nil {
		return endpoint.Program{}, err
	}
	return endpoint.Program{
		Home: dir, Build: program.BuildID(), Routes: routes,
		Argv: []string{self, program.EndpointCommand, "--home", dir},
	}, nil
}
