package cli

import (
	"path/filepath"

	"github.com/spf13/pflag"

	"pgapp/appliance"
	"pgapp/appliance/program"
)

// tlsFiles are the files that the user gave, or empty.
type tlsFiles struct{ cert, key string }

func (a *app) listenFlags(f *pflag.FlagSet) {
	f.StringVar(&a.listen, "listen", "", "TCP address of the daemon's API, where this command starts it (default 127.0.0.1:8432)")
	f.StringVar(&a.tls.cert, "tls-cert", "", "certificate of that address, PEM with its chain (default: off loopback, one of pgapp's own CA)")
	f.StringVar(&a.tls.key, "tls-key", "", "key of --tls-cert, PEM")
}

// prepareListen checks the flags of the API's address. The files are looked at
// by the daemon that is to serve them.
func (a *app) prepareListen() error {
	if a.listen != "" {
		if err := program.CheckListen(a.listen); err != nil {
			return err
		}
	}
	if (a.tls.cert == "") != (a.tls.key == "") {
		return appliance.NewProblem(appliance.ErrUsage, "--tls-cert and --tls-key have to be given together")
	}
	for _, path := range []*string{&a.tls.cert, &a.tls.key} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path) // the daemon works elsewhere
		if err != nil {
			return appliance.NewProblem(appliance.ErrUsage, "--tls-cert and --tls-key: %w", err)
		}
		*path = abs
	}
	return nil
}

// listenArgs hands the flags on to the daemon.
func (a *app) listenArgs() (args []string) {
	if a.listen != "" {
		args = append(args, "--listen", a.listen)
	}
	if a.tls.cert != "" {
		args = append(args, "--tls-cert", a.tls.cert, "--tls-key", a.tls.key)
	}
	return args
}
