package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/appliance/doctor"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	// trialTime is how long a trial machine has to run: without working KVM it
	// pauses or ends at its first instructions.
	trialTime = time.Second
	trialMiB  = 64
)

// trialFinding runs a machine without a disk under KVM: its firmware alone shows
// whether the processor can run a guest.
func (ck *checks) trialFinding(ctx context.Context, level appliance.FindingLevel) appliance.Finding {
	const id = "kvm"
	if err := ck.tryKVM(ctx); err != nil {
		return doctor.Advise(doctor.Found(id, level, "KVM is available, but a trial machine failed: %s", emulatorsWords(err)),
			"use --accel tcg; pgapp does so automatically unless --accel kvm is given")
	}
	return doctor.Found(id, appliance.LevelPass, "KVM ran a trial machine")
}

func (ck *checks) tryKVM(ctx context.Context) error {
	id := uuid.NewString()
	x := libvirtxml.Domain{
		Type: typeKVM, Name: prefix + "doctor-" + id[:shortUUID], UUID: id,
		Memory: &libvirtxml.DomainMemory{Value: trialMiB, Unit: "MiB"},
		VCPU:   &libvirtxml.DomainVCPU{Value: 1},
		OS:     &libvirtxml.DomainOS{Type: &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "q35", Type: "hvm"}},
		CPU:    cpu(typeKVM), Features: features(typeKVM), OnCrash: "destroy",
		Devices: &libvirtxml.DomainDeviceList{MemBalloon: &libvirtxml.DomainMemBalloon{Model: "none"}},
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), doctorLimit)
		defer cancel()
		_ = ck.virt.DestroyDomain(clean, id) // else it ends with the connection
	}()
	if err := ck.virt.RunDomain(ctx, x); err != nil {
		return err
	}
	trial, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	err := wait.Until(trial, pollEvery, func(ctx context.Context) (bool, error) {
		d, err := ck.virt.Domain(ctx, id)
		switch {
		case errors.Is(err, rpc.ErrNotFound):
			return false, errors.New("QEMU ended at once")
		case err != nil:
			return false, err
		case d.State == rpc.DomainPaused && d.Reason != int32(golibvirt.DomainPausedStartingUp):
			return false, errors.New("it was paused, because KVM can't run its code")
		case d.State.Off():
			return false, fmt.Errorf("it is off, in state %d", d.State)
		}
		return false, nil
	})
	if trial.Err() != nil && ctx.Err() == nil {
		return nil // it ran all the time
	}
	return err
}
