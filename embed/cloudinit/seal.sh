#!/bin/sh
# Makes a golden image of a guest, as root: takes out what slows a boot and
# everything that makes this guest an individual, then powers off. It ends with
# "pgapp-seal: done" or "pgapp-seal: failed" on the console.
set -eu
console=/dev/ttyS0
trap 'echo "pgapp-seal: failed" >"$console"; systemctl poweroff --force' EXIT

# Daemons that a database's machine has no use for, and work that starts with
# every boot. AppArmor, the journal and the file system's check stay.
# Not by systemctl, which would reload systemd for each.
for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
	unattended-upgrades.service e2scrub_reap.service e2scrub_all.timer dpkg-db-backup.timer man-db.timer \
	motd-news.timer motd-news.service apport.service apport-autoreport.timer update-notifier-download.timer \
	update-notifier-motd.timer ua-timer.timer ubuntu-advantage.service pollinate.service \
	snapd.service snapd.socket snapd.seeded.service snapd.apparmor.service snapd.snap-repair.timer \
	ModemManager.service udisks2.service multipathd.service multipathd.socket fwupd-refresh.timer \
	grub-common.service grub-initrd-fallback.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
	systemd-networkd-wait-online.service keyboard-setup.service console-setup.service \
	postgresql.service systemd-pstore.service rsync.service getty@tty1.service \
	modprobe@drm.service modprobe@efi_pstore.service modprobe@configfs.service sys-kernel-config.mount \
	modprobe@fuse.service sys-fs-fuse-connections.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	systemd-network-generator.service systemd-networkd-persistent-storage.service \
	systemd-udev-load-credentials.service systemd-hwdb-update.service; do
	ln -sfn /dev/null "/etc/systemd/system/$unit"
done

# Identity from a seed on a disk, and nothing else from cloud-init.
cat >/etc/cloud/cloud.cfg.d/95-pgapp.cfg <<'TEXT'
datasource_list: [NoCloud]
cloud_init_modules: [set_hostname, update_etc_hosts, users_groups, ssh]
cloud_config_modules: [growpart, resizefs]
cloud_final_modules: []
system_info:
  network:
    renderers: [networkd]
    activators: [networkd]
TEXT
echo 'policy: enabled' >/etc/cloud/ds-identify.cfg

# Units are generated from what this machine hasn't got, and anew at every
# reload. postgresql's would start clusters by itself.
mkdir -p /etc/systemd/system-generators
for generator in netplan postgresql-generator systemd-debug-generator systemd-gpt-auto-generator \
	systemd-hibernate-resume-generator systemd-rc-local-generator systemd-run-generator systemd-ssh-generator \
	systemd-tpm2-generator friendly-recovery snapd-generator openvpn-generator; do
	ln -sfn /dev/null "/etc/systemd/system-generators/$generator"
done

# What answers nobody yet waits for SSH and for the rest of cloud-init, beside
# which the first login would be one of many. These two are ordered before
# sysinit.target, which SSH needs: an After= of theirs would be a cycle.
for unit in systemd-resolved.service systemd-timesyncd.service; do
	[ ! -e "/etc/systemd/system/sysinit.target.wants/$unit" ] || later="${later:-} $unit"
	rm -f "/etc/systemd/system/sysinit.target.wants/$unit"
done
if [ -n "${later:-}" ]; then
	cat >/etc/systemd/system/pgapp-later.service <<TEXT
[Unit]
Description=What starts after SSH
After=ssh.service cloud-config.service

[Service]
Type=oneshot
ExecStart=systemctl start --no-block$later

[Install]
WantedBy=multi-user.target
TEXT
	mkdir -p /etc/systemd/system/multi-user.target.wants
	ln -sfn ../pgapp-later.service /etc/systemd/system/multi-user.target.wants/pgapp-later.service
fi
after() {
	mkdir -p "/etc/systemd/system/$1.d"
	printf '[Unit]\nAfter=%s\n' "$2" >"/etc/systemd/system/$1.d/pgapp.conf"
}
after cloud-config.service ssh.service
for unit in cron.service systemd-logind.service serial-getty@.service; do
	after "$unit" "ssh.service cloud-config.service"
done

# Events at boot for devices only that a virtual machine uses: each is a walk
# through all rules, and those of processors would load KVM and ciphers, which
# load by themselves when they are asked for. Of terminals, the serial ones.
trigger=/usr/lib/systemd/system/systemd-udev-trigger.service
if grep -q '^ExecStart=.*--prioritized-subsystem=' "$trigger" 2>/dev/null; then
	for subsystem in cpu memory node memory_tiering machinecheck workqueue event_source clockevents clocksource bdi vc \
		vtconsole tty wakeup pci_express pci_bus serial-base ata_port ata_link ata_device scsi_host dma_heap leds thermal container; do
		skip="${skip:-} --subsystem-nomatch=$subsystem"
	done
	mkdir -p /etc/systemd/system/systemd-udev-trigger.service.d
	cat >/etc/systemd/system/systemd-udev-trigger.service.d/pgapp.conf <<TEXT
[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --prioritized-subsystem=block,net$skip
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=tty --sysname-match=ttyS* --sysname-match=hvc*
TEXT
fi

# A login over SSH is for a command: it is no session of logind's, with a
# manager of the user's own units, and needs no message of the day, for which
# Ubuntu runs a dozen programs. Commands belong to sshd's unit then, which is not
# to end with one that ran out of memory. sshd reads its configuration once, not
# once more to check it.
if [ -f /etc/pam.d/common-session-noninteractive ]; then
	sed -i -E 's/^(@include[[:space:]]+common-session)[[:space:]]*$/\1-noninteractive/' /etc/pam.d/sshd
fi
mkdir -p /etc/systemd/system/ssh.service.d
printf '[Service]\nExecStartPre=\nOOMPolicy=continue\n' >/etc/systemd/system/ssh.service.d/pgapp.conf
for f in /etc/pam.d/sshd /etc/pam.d/login; do
	[ ! -f "$f" ] || sed -i -E '/pam_motd\.so/ s/^([^#])/#\1/' "$f"
done

mkdir -p /etc/default/grub.d
printf 'GRUB_TIMEOUT=0\nGRUB_RECORDFAIL_TIMEOUT=0\nGRUB_TIMEOUT_STYLE=hidden\n' >/etc/default/grub.d/99-pgapp.cfg
[ ! -f /boot/grub/grub.cfg ] || sed -i 's/timeout=[0-9][0-9]*/timeout=0/' /boot/grub/grub.cfg

# AppArmor loads a hundred profiles at each boot, most for programs of desktops.
# Those whose programs are all absent are left out; what names none in plain
# words, stays.
for profile in /etc/apparmor.d/*; do
	[ -f "$profile" ] || continue
	programs=$(sed -nE 's#^(profile[[:space:]]+[^[:space:]]+[[:space:]]+)?"?(/[^][:space:]"{},@*?[]+)"?[[:space:]].*\{.*$#\2#p' "$profile")
	present=$(for p in $programs; do if [ -e "$p" ]; then echo "$p"; fi; done)
	if [ -n "$programs" ] && [ -z "$present" ]; then
		# Not by a link, which costs a process as well.
		mkdir -p /etc/apparmor.d/disable
		mv "$profile" /etc/apparmor.d/disable/
	fi
done

# The kernel's words go to the journal; its warnings to the console as well. A
# second console for the first moments doubles each line.
for f in /etc/default/grub /boot/grub/grub.cfg; do
	[ ! -f "$f" ] || sed -i -e 's/ *earlyprintk=[^ "]*//' -e '/^[[:space:]]*linux[[:space:]]/ s/$/ quiet/' "$f"
done
# shellcheck disable=SC2016 # GRUB's own
echo 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT quiet"' >>/etc/default/grub.d/99-pgapp.cfg

# Firmware's partition is checked and mounted when somebody looks at it: the
# boot would wait for its device.
if [ -f /etc/fstab ]; then
	sed -i -E 's#^([^[:space:]]+[[:space:]]+/boot/efi[[:space:]]+[^[:space:]]+[[:space:]]+)([^[:space:]]+)#\1\2,noauto,x-systemd.automount#' /etc/fstab
fi

# The individual.
userdel -f -r pgapp >/dev/null 2>&1 || true
rm -f /etc/sudoers.d/90-cloud-init-users /etc/ssh/ssh_host_*
rm -f /etc/netplan/50-cloud-init.yaml /etc/systemd/network/10-cloud-init-* /etc/cloud/cloud-init.disabled
rm -rf /var/lib/cloud/* /run/cloud-init/* /var/log/cloud-init* /var/log/journal/* /var/lib/systemd/random-seed \
	/var/lib/dhcp/* /root/.ssh /root/.bash_history /tmp/* /var/tmp/*
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id
echo localhost >/etc/hostname
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >/etc/hosts

# A first boot would rebuild caches that are up to date.
for f in /etc/.updated /var/.updated; do
	touch -d '+1 day' "$f"
done
fstrim / >/dev/null 2>&1 || true
sync
trap - EXIT
echo "pgapp-seal: done" >"$console"
systemctl poweroff
