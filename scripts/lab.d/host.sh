# The lab on its host: packages, namespace, libvirt, network.
# shellcheck shell=bash

LAB_HOST_PACKAGES=(
	libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients libvirt-daemon-config-network
	qemu-system-x86 qemu-utils ovmf ipxe-qemu dnsmasq-base iptables nftables iproute2 util-linux
	mmdebstrap debian-archive-keyring e2fsprogs fdisk mtools dosfstools grub-common grub-efi-amd64-bin
	apt-utils gnupg python3-minimal python3 openssh-client
)

host_packages() {
	local missing=() package
	for package in "${LAB_HOST_PACKAGES[@]}"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installing ${missing[*]}"
	apt-get -o DPkg::Lock::Timeout=600 update -qq >&2 || die "apt-get update failed: the lab's packages can't be installed"
	without_services apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "${missing[@]}" >"$LAB_RUN/apt-get.log" 2>&1 9>&- || {
		tail -n 20 "$LAB_RUN/apt-get.log" >&2
		die "the lab's packages can't be installed: see $LAB_RUN/apt-get.log"
	}
}

# without_services CMD... runs CMD, an apt-get, and keeps packages from starting
# services: libvirtd would make its network in the machine's own namespace.
without_services() {
	local policy=/usr/sbin/policy-rc.d made='' code=0
	if [ ! -e "$policy" ]; then
		made=1
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 0755 "$policy"
	fi
	DEBIAN_FRONTEND=noninteractive "$@" || code=$?
	[ -z "$made" ] || rm -f "$policy"
	return $code
}

# netns_ours tells whether the namespace exists and was made by up.
netns_ours() {
	[ -e "$LAB_NETNS" ] && [ "$(stat -Lc %i "$LAB_NETNS")" = "$(cat "$LAB_RUN/netns" 2>/dev/null)" ]
}

netns_up() {
	if ! netns_ours; then
		[ ! -e "$LAB_NETNS" ] || die "a network namespace $LAB_NAME exists that the lab did not make: choose another name by PGAPP_LAB"
		ip netns add "$LAB_NAME" || die "the lab needs a network namespace, and this machine can't make one"
		stat -Lc %i "$LAB_NETNS" >"$LAB_RUN/netns"
	fi
	inside ip link set lo up
}

libvirt_answers() { in_virsh uri >/dev/null 2>&1; }

# libvirt_foreign tells whether another libvirtd than the lab's answers.
libvirt_foreign() { ! our_pid libvirtd >/dev/null && libvirt_answers; }

libvirt_up() {
	if our_pid libvirtd >/dev/null && our_pid virtlogd >/dev/null && libvirt_answers; then
		guests_share
		return 0
	fi
	end_ours libvirtd
	kvm_group
	guests_share
	start_daemon virtlogd
	libvirt_config >"$LAB_RUN/libvirtd.conf"
	start_daemon libvirtd --config "$LAB_RUN/libvirtd.conf"
	wait_for 60 libvirt_answers || die "libvirtd doesn't answer on $LAB_SOCKET: see $LAB_RUN/libvirtd.log"
	note_foreign
}

# kvm_group gives /dev/kvm to QEMU's group, as udev does. If the device exists but
# QEMU can't open it, libvirt queries QEMU's capabilities at every call, for up to
# 12 s.
kvm_group() {
	if [ -c /dev/kvm ] && [ "$(stat -c %G /dev/kvm)" = root ] && getent group kvm >/dev/null; then
		chgrp kvm /dev/kvm
		chmod 0660 /dev/kvm
	fi
}

# guests_share gives guests priority over other processes. Without systemd
# libvirt keeps all guests in one control group beside the root's processes, where
# together they get the share of a single compiler: beside a build, a boot took
# six minutes instead of one.
guests_share() {
	local top
	top=$(awk '$3 == "cgroup" && $4 ~ /(^|,)cpu(,|$)/ { print $2; exit }' /proc/mounts)
	if [ -n "$top" ] && mkdir -p "$top/machine" 2>/dev/null; then
		echo 8192 >"$top/machine/cpu.shares" 2>/dev/null || true
	fi
}

# start_daemon NAME ARG... starts virtlogd or libvirtd in the namespace. Both fork
# and write their process id when they are ready.
start_daemon() {
	local name=$1
	shift
	our_pid "$name" >/dev/null && return 0
	rm -f "$LAB_RUN/$name.pid"
	inside "$name" --daemon --pid-file "$LAB_RUN/$name.pid" "$@" </dev/null >>"$LAB_RUN/$name.log" 2>&1 || {
		tail -n 5 "$LAB_RUN/$name.log" >&2
		die "$name doesn't start: see $LAB_RUN/$name.log"
	}
	wait_for 30 test -s "$LAB_RUN/$name.pid" || die "$name wrote no process id: see $LAB_RUN/$name.log"
	keep_pid "$name" "$(cat "$LAB_RUN/$name.pid")"
}

# Without polkit; only root can open the socket.
libvirt_config() {
	cat <<TEXT
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_outputs = "3:file:$LAB_RUN/libvirtd.log"
TEXT
}

# network_up starts the network that libvirt's package defines, without spanning
# tree, whose forward delay would cost the first guest seconds.
network_up() {
	local xml=$LAB_RUN/network.xml
	if in_virsh net-info default 2>/dev/null | grep -q '^Active: *yes' && bridge_quick; then
		return 0
	fi
	if in_virsh net-dumpxml --inactive default >"$xml" 2>/dev/null; then
		in_virsh net-destroy default >/dev/null 2>&1 || true
		sed -i "s|<bridge [^>]*/>|<bridge name='virbr0' stp='off' delay='0'/>|" "$xml"
	else
		network_xml >"$xml"
	fi
	in_virsh net-define "$xml" >/dev/null
	in_virsh net-start default >/dev/null || die "the network doesn't start: see $LAB_RUN/libvirtd.log"
	wait_for 10 bridge_quick || die "virbr0 didn't get the address $LAB_ADDRESS"
}

bridge_quick() {
	inside ip -o -4 address show dev virbr0 2>/dev/null | grep -q " $LAB_ADDRESS/24 " &&
		inside ip -d link show dev virbr0 | grep -q 'stp_state 0'
}

network_xml() {
	cat <<'TEXT'
<network>
  <name>default</name>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='off' delay='0'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp>
  </ip>
</network>
TEXT
}

lab_status() {
	local name pid code=0
	if netns_ours; then echo "namespace $LAB_NAME"; else echo "namespace $LAB_NAME: missing" && code=3; fi
	for name in virtlogd libvirtd httpd; do
		if pid=$(our_pid "$name"); then echo "$name pid $pid"; else echo "$name: not running" && code=3; fi
	done
	if [ $code = 0 ]; then
		in_virsh net-list --all
		in_virsh list --all
	fi
	return $code
}
