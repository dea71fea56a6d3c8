package libvirt

import (
	"context"
	"errors"
	"strings"

	"pgapp/appliance"
)

// errNoKVM is the cause where a domain didn't survive under KVM.
var errNoKVM = errors.New("KVM is available, but can't run this guest")

// domainType decides between KVM and emulation.
func (a *acceleration) domainType(ctx context.Context, accel string) (string, error) {
	if accel == appliance.AccelTCG {
		return typeTCG, nil
	}
	if a.whyNoKVM() != "" && accel != appliance.AccelKVM {
		return typeTCG, nil
	}
	if _, err := a.virt.Capabilities(ctx, typeKVM); err != nil {
		if ctx.Err() != nil || appliance.IsProblem(err, appliance.ErrHostNoLibvirt) || appliance.IsProblem(err, appliance.ErrHostLibvirtPerm) {
			return "", err
		}
		if accel == appliance.AccelKVM {
			return "", noKVM(err)
		}
		a.setNoKVM("libvirt has no KVM: " + err.Error())
		return typeTCG, nil
	}
	return typeKVM, nil
}

func (a *acceleration) whyNoKVM() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.noKVM
}

func (a *acceleration) setNoKVM(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noKVM = reason
}

func noKVM(err error) error {
	return appliance.NewProblem(appliance.ErrHostNoKVM, "this host's KVM can't run the guest: %w", err).
		WithHint("use emulation, which is slower: --accel tcg; or see 'pgapp doctor'")
}

// hasEFI tells whether libvirt finds UEFI firmware for domains of the type.
func (a *acceleration) hasEFI(ctx context.Context, domainType string) (bool, error) {
	caps, err := a.virt.Capabilities(ctx, domainType)
	if err != nil || caps.OS == nil {
		return false, err
	}
	for _, e := range caps.OS.Enums {
		if e.Name != "firmware" {
			continue
		}
		for _, v := range e.Values {
			if v == "efi" {
				return true, nil
			}
		}
	}
	return false, nil
}

// emulatorsWords returns QEMU's first message, without libvirt's prefix and
// without the text that a failed assertion adds. Without a message from QEMU it
// returns the last line of err.
func emulatorsWords(err error) string {
	const program = "qemu-system-x86_64: "
	text := appliance.LastLine(err.Error())
	if _, words, ok := strings.Cut(text, program); ok {
		text, _, _ = strings.Cut(words, " "+program)
	}
	return text
}

// emulated tells the user why the machine is emulated, or is empty.
func (a *acceleration) emulated(kind, accel string) string {
	if why := a.whyNoKVM(); kind == typeTCG && accel != appliance.AccelTCG && why != "" {
		return ", emulated, which is many times slower: " + why
	}
	return ""
}

func failedUnderKVM(err error) bool {
	return errors.Is(err, errNoKVM) || appliance.IsProblem(err, appliance.ErrHostNoKVM)
}
