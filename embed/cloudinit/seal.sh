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
	postgresql.service systemd-pstore.service rsync.service; do
	ln -sfn /dev/null "/etc/systemd/system/$unit"
done

# Identity from a seed on a disk, and nothing else from cloud-init.
cat >/etc/cloud/cloud.cfg.d/95-pgapp.cfg <<'TEXT'
datasource_list: [NoCloud]
cloud_init_modules: [growpart, resizefs, set_hostname, update_etc_hosts, users_groups, ssh]
cloud_config_modules: []
cloud_final_modules: []
system_info:
  network:
    renderers: [networkd]
    activators: [networkd]
TEXT
echo 'policy: enabled' >/etc/cloud/ds-identify.cfg

# SSH before what answers nobody yet.
for unit in systemd-timesyncd.service cron.service; do
	mkdir -p "/etc/systemd/system/$unit.d"
	printf '[Unit]\nAfter=ssh.service\n' >"/etc/systemd/system/$unit.d/pgapp.conf"
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
		mkdir -p /etc/apparmor.d/disable
		ln -sfn "$profile" /etc/apparmor.d/disable/
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
