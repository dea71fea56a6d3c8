package cli

import (
	"path/filepath"

	"github.com/spf13/pflag"

	"pgapp/appliance"
	"pgapp/appliance/program"
)

// tlsFiles are the files that the user gave, or empty.
type tlsFiles struct{ cert, key string }

func (l *link) listenFlags(f *pflag.FlagSet) {
	f.StringVar(&l.listen, "listen", "", "TCP address of the daemon's API, if this command starts the daemon (default 127.0.0.1:8432)")
	f.StringVar(&l.tls.cert, "tls-cert", "", "certificate for --listen, PEM with its chain (default: one of pgapp's own CA, except on loopback)")
	f.StringVar(&l.tls.key, "tls-key", "", "key of --tls-cert, PEM")
}

// prepareListen checks the flags of the API's address. The daemon, which serves
// the files, checks those.
func (l *link) prepareListen() error {
	if l.listen != "" {
		if err := program.CheckListen(l.listen); err != nil {
			return err
		}
	}
	if (l.tls.cert == "") != (l.tls.key == "") {
		return appliance.NewProblem(appliance.ErrUsage, "--tls-cert and --tls-key have to be given together")
	}
	for _, path := range []*string{&l.tls.cert, &l.tls.key} {
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

// listenArgs are the flags for the daemon.
func (l *link) listenArgs() (args []string) {
	if l.listen != "" {
		args = append(args, "--listen", l.listen)
	}
	if l.tls.cert != "" {
		args = append(args, "--tls-cert", l.tls.cert, "--tls-key", l.tls.key)
	}
	return args
}
