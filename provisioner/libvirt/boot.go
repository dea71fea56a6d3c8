package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"pgapp/appliance"
	"pgapp/appliance/ssh"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	consoleLines = 40
	consoleBytes = 256 << 10
	// pollEvery is the interval of polls.
	pollEvery = 100 * time.Millisecond
	// watchEvery is the interval of looks at a booting domain.
	watchEvery = 200 * time.Millisecond
	// noMessageRetries limits the repeats of a start that failed because the
	// machine's previous QEMU was still ending.
	noMessageRetries = 3
)

// boot is one start of a machine.
type boot struct {
	spec machineSpec
	// seed makes the machine's seed; nil if the machine needs none.
	seed  func(ctx context.Context) (path string, err error)
	guest *guest
	// primary is set for the recorded primary's machine: see halt.
	primary bool
	accel   string
	client  *ssh.Client
	report  appliance.Report
}

func (b boot) say(format string, args ...any) {
	if b.report != nil {
		b.report(appliance.Progress{Detail: fmt.Sprintf(format, args...)})
	}
}

// up starts the machine from any state and returns when SSH answers. A machine
// that runs but doesn't answer is restarted. how tells the user how long the
// boot took, and why the machine is emulated if the spec doesn't ask for
// emulation.
func (mc *machines) up(ctx context.Context, b boot) (how string, err error) {
	if err := mc.halt(ctx, b); err != nil {
		return "", err
	}
	how, err = mc.upOnce(ctx, b)
	if !errors.Is(err, errDeaf) {
		return how, err
	}
	why := err
	b.say("%v: restarting it", why)
	if err := mc.powerOff(ctx, b.spec.Name, b.guest, b.primary, b.report); err != nil {
		return "", err
	}
	if how, err = mc.upOnce(ctx, b); err != nil {
		return "", err
	}
	return how + ", because " + why.Error(), nil
}

// upOnce is up without the restart. A domain that dies or pauses under KVM is
// started again with emulation, if accel allows.
func (mc *machines) upOnce(ctx context.Context, b boot) (how string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mc.cfg.BootLimit, errBootLimit)
	defer cancel()
	begun := time.Now()
	for {
		kind, err := mc.accel.domainType(ctx, b.accel)
		if err != nil {
			return "", err
		}
		started, err := mc.startAs(ctx, b, kind)
		if err == nil {
			var again bool
			if again, err = mc.awaitUp(ctx, b, kind, started); again {
				continue
			}
		}
		if err == nil && !started {
			return "it runs", nil
		}
		if err == nil {
			return "booted in " + time.Since(begun).Round(time.Second).String() + mc.accel.emulated(kind, b.accel), nil
		}
		if kind != typeKVM || !failedUnderKVM(err) {
			return "", err
		}
		if b.accel == appliance.AccelKVM {
			if !appliance.IsProblem(err, appliance.ErrHostNoKVM) {
				err = noKVM(err)
			}
			return "", errors.Join(err, mc.virt.DestroyDomain(ctx, b.spec.Name))
		}
		mc.accel.setNoKVM("KVM can't run guests on this host: " + emulatorsWords(err))
		b.say("%s: using emulation, which is many times slower", mc.accel.whyNoKVM())
		if err := mc.virt.DestroyDomain(ctx, b.spec.Name); err != nil {
			return "", err
		}
	}
}

var (
	errBootLimit = errors.New("the boot took too long")
	// errDeaf is the cause if a running machine needs a restart.
	errDeaf = errors.New("the machine ran but did not answer")
)

// halt leaves a domain running or off. The recorded primary's domain is resumed
// if a user or a full disk paused it. Any other domain that is paused, crashed
// or restored from saved memory is ended, and saved memory is removed: the
// member could continue as a second primary, and holds no data that the primary
// lacks.
func (mc *machines) halt(ctx context.Context, b boot) error {
	name := b.spec.Name
	d, err := mc.virt.Domain(ctx, name)
	if errors.Is(err, rpc.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := checkOwner(d, b.spec.Tag.UUID); err != nil {
		return err
	}
	switch {
	case d.State.Off():
	case b.primary && d.Resumable() && mc.resume(ctx, name, b.say):
	case d.State != rpc.DomainRunning || d.Thawed():
		if err := mc.virt.DestroyDomain(ctx, name); err != nil {
			return err
		}
	}
	if d.Saved {
		return mc.virt.RemoveManagedSave(ctx, name)
	}
	return nil
}

// resume resumes a paused domain, and tells whether that worked.
func (mc *machines) resume(ctx context.Context, name string, say func(format string, args ...any)) bool {
	say("the machine is paused: resuming it")
	err := mc.virt.ResumeDomain(ctx, name)
	if err != nil {
		say("the machine can't be resumed: %v", err)
	}
	return err == nil
}

// startAs defines the domain and starts it, unless it runs.
func (mc *machines) startAs(ctx context.Context, b boot, kind string) (started bool, err error) {
	d, err := mc.virt.Domain(ctx, b.spec.Name)
	exists := err == nil
	if err != nil && !errors.Is(err, rpc.ErrNotFound) {
		return false, err
	}
	if exists && !d.State.Off() {
		return false, nil
	}
	b.spec.Type = kind
	if b.seed != nil {
		if b.spec.Seed, err = b.seed(ctx); err != nil {
			return false, err
		}
	}
	if err := mc.define(ctx, d, exists, b.spec); err != nil {
		return false, err
	}
	b.say("starting the machine")
	err = mc.virt.StartDomain(ctx, b.spec.Name)
	for range noMessageRetries {
		if !errors.Is(err, rpc.ErrNoMessage) {
			break
		}
		b.say("%v: starting the machine once more", rpc.ErrNoMessage)
		err = mc.virt.StartDomain(ctx, b.spec.Name)
	}
	return true, err
}

// awaitUp waits for SSH. again is true if the machine was shutting down: the
// caller has to start it again.
func (mc *machines) awaitUp(ctx context.Context, b boot, kind string, started bool) (again bool, err error) {
	if started {
		return false, mc.awaitSSH(ctx, b, kind)
	}
	if err := mc.unplugged(ctx, b.spec.Name); err != nil {
		return false, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, mc.cfg.BootLimit/2, errDeaf)
	defer cancel()
	err = mc.awaitSSH(limited, b, kind)
	switch {
	case err == nil:
		return mc.wentDown(ctx, b)
	case mc.isOff(ctx, b.spec.Name):
		return true, err
	case ctx.Err() == nil && limited.Err() != nil:
		return false, errDeaf
	}
	return false, err
}

// wentDown waits while a machine shuts down, as during a reboot from inside:
// SSH answers until the end, but PostgreSQL started now would be lost. down is
// true if the machine shut down: the caller has to start it again.
func (mc *machines) wentDown(ctx context.Context, b boot) (down bool, err error) {
	err = wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		if down {
			b.client.Drop() // one round later, so that nobody asks without a pause
		}
		r, err := b.client.As("root").Run(ctx, appliance.Command{Argv: []string{"systemctl", "is-system-running"}})
		var exit *appliance.ExitError
		lost := ssh.ReasonOf(err) != "" || errors.As(err, &exit) && exit.Code < 0
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case lost && down:
			return true, nil
		case !lost && strings.TrimSpace(string(r.Stdout)) != "stopping":
			return true, nil
		}
		down = true
		b.say("waiting for the machine to go down")
		return false, nil
	})
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), errBootLimit) {
		return false, mc.bootProblem(ctx, b, context.Cause(ctx))
	}
	return down, err
}

func (mc *machines) isOff(ctx context.Context, name string) bool {
	d, err := mc.virt.Domain(ctx, name)
	return err == nil && d.State.Off()
}

// awaitSSH waits until SSH answers or the domain fails.
func (mc *machines) awaitSSH(parent context.Context, b boot, kind string) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	watched := make(chan error, 1)
	go func() {
		err := mc.watch(ctx, b.spec.Name, kind)
		if err != nil {
			cancel(err)
		}
		watched <- err
	}()
	last := ssh.Reason("")
	err := b.client.WaitReady(ctx, func(r ssh.Reason) {
		if r != last {
			last = r
			b.say("booting: %s", r)
		}
	})
	cancel(nil)
	e := <-watched
	switch {
	case err == nil:
		return nil
	case errors.Is(parent.Err(), context.Canceled):
		return fmt.Errorf("waiting for %q to boot: %w", b.spec.Name, parent.Err())
	case e != nil:
		err = e
	}
	return mc.bootProblem(ctx, b, err)
}

// watch returns the domain's failure, or nil when ctx ends.
func (mc *machines) watch(ctx context.Context, name, kind string) error {
	err := wait.Until(ctx, watchEvery, func(ctx context.Context) (bool, error) {
		d, err := mc.virt.Domain(ctx, name)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case errors.Is(err, rpc.ErrNotFound):
			return false, appliance.NewProblem(appliance.ErrGuestBoot, "domain %q was removed while it booted", name)
		case err != nil:
			return false, err
		case d.State == rpc.DomainPaused && d.Reason == int32(golibvirt.DomainPausedIoerror):
			return false, appliance.NewProblem(appliance.ErrHostNoSpace, "domain %q was paused, because its disk can't be written", name).
				WithHint("free disk space in %s, then run the same command again", poolPath)
		case (d.State == rpc.DomainPaused && !d.Resumable() && d.Reason != int32(golibvirt.DomainPausedStartingUp) || d.State.Off()) && kind == typeKVM:
			return false, fmt.Errorf("domain %q: %w", name, errNoKVM)
		case d.State.Off():
			return false, appliance.NewProblem(appliance.ErrGuestBoot, "domain %q powered off while it booted", name)
		}
		return false, nil
	})
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// bootProblem adds the end of the console: a guest without SSH shows nothing
// else.
func (mc *machines) bootProblem(ctx context.Context, b boot, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), busyLimit)
	defer cancel()
	lines := mc.console(ctx, volumeName(b.spec.Tag, volConsole))
	var known *appliance.Problem
	if errors.As(err, &known) && known.ID != appliance.ErrMemberUnreachable {
		if known.Detail == "" && known.ID == appliance.ErrGuestBoot {
			return appliance.AsProblem(err).WithDetail(lines)
		}
		return err
	}
	if errors.Is(err, errNoKVM) {
		return err
	}
	return appliance.NewProblem(appliance.ErrGuestBoot, "domain %q doesn't answer: %w", b.spec.Name, err).
		WithHint("watch it boot: virsh console %s", b.spec.Name).WithDetail(lines)
}

// console returns the last lines of the serial console, or "" if it can't be
// read.
func (mc *machines) console(ctx context.Context, volume string) string {
	return appliance.LastLines(mc.disks.consoleText(ctx, volume), consoleLines)
}

// consoleText returns up to consoleBytes from the end of the serial console.
func (ds *disks) consoleText(ctx context.Context, volume string) string {
	if ds.refresh(ctx) != nil {
		return ""
	}
	text, err := ds.virt.Download(ctx, poolName, volume, consoleBytes)
	if err != nil {
		return ""
	}
	return printable(text)
}

// steering matches terminal control sequences, such as colours.
var steering = regexp.MustCompile(`\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])`)

// printable drops terminal control sequences and other control characters.
func printable(text []byte) string {
	text = steering.ReplaceAll(bytes.ReplaceAll(text, []byte("\r"), nil), nil)
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && r != 0xfffd {
			return r
		}
		return -1
	}, string(text))
}
