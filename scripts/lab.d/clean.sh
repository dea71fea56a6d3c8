# Stopping the lab: removes what the lab started and tests left, nothing else.
# shellcheck shell=bash

# note_foreign records the objects that libvirt had before the lab's first up,
# which down leaves alone.
note_foreign() {
	[ -e "$LAB_RUN/foreign" ] && return 0
	{
		in_virsh list --all --uuid
		in_virsh net-list --all --uuid
		in_virsh pool-list --all --uuid
		echo reservations:
		reservations
	} | sed '/^$/d' >"$LAB_RUN/foreign.new"
	mv "$LAB_RUN/foreign.new" "$LAB_RUN/foreign"
}

# reservations lists the network's address reservations.
reservations() {
	{ in_virsh net-dumpxml --inactive default 2>/dev/null || true; } | sed -n "s|^ *\\(<host mac=.*/>\\)\$|\\1|p"
}

# ours LINE tells whether a UUID or a reservation came from the lab.
ours() { [ -e "$LAB_RUN/foreign" ] && ! grep -qxF "$1" "$LAB_RUN/foreign"; }

lab_down() {
	need_root
	take_lock
	if ! netns_ours; then
		rm -f "$LAB_RUN"/*.proc "$LAB_RUN/netns" "$LAB_RUN/image"
		say "down: the lab did not run"
		return 0
	fi
	if [ -e "$LAB_RUN/foreign" ] && ! libvirt_foreign; then
		libvirt_up # a test may have killed it
		remove_left
	fi
	end_ours httpd
	end_ours libvirtd
	end_ours virtlogd
	end_rest
	ip netns del "$LAB_NAME"
	rm -f "$LAB_RUN/netns" "$LAB_RUN/image"
	say "down"
}

remove_left() {
	local id
	for id in $(in_virsh list --all --uuid); do
		ours "$id" || continue
		say "removing domain $(in_virsh domname "$id")"
		in_virsh destroy "$id" >/dev/null 2>&1 || true
		in_virsh undefine "$id" --nvram --managed-save --snapshots-metadata --checkpoints-metadata >/dev/null || true
	done
	for id in $(in_virsh pool-list --all --uuid); do
		ours "$id" || continue
		remove_pool "$id"
	done
	# An older lab's list has no reservations.
	if grep -qx reservations: "$LAB_RUN/foreign"; then
		reservations | while read -r id; do
			ours "$id" || continue
			say "removing the reservation $id"
			in_virsh net-update default delete ip-dhcp-host "$id" --config >/dev/null || true
		done
	fi
	for id in $(in_virsh net-list --all --uuid); do
		in_virsh net-destroy "$id" >/dev/null 2>&1 || true
		ours "$id" || continue
		[ "$(in_virsh net-name "$id")" = default ] || in_virsh net-undefine "$id" >/dev/null || true
	done
}

# remove_pool UUID undefines a test's pool. It deletes the volumes only in the
# directories of libvirt and the lab, since a pool may contain any directory.
remove_pool() {
	local target volume
	target=$(in_virsh pool-dumpxml "$1" | sed -n 's|.*<path>\(.*\)</path>.*|\1|p' | head -n 1)
	say "removing pool $(in_virsh pool-name "$1") at $target"
	case $target in
	/var/lib/libvirt/?* | "$LAB_RUN"/?*)
		in_virsh pool-start "$1" >/dev/null 2>&1 || true
		in_virsh vol-list "$1" | awk 'NF > 1 { print $NF }' | while read -r volume; do
			in_virsh vol-delete "$volume" >/dev/null || true
		done
		;;
	esac
	in_virsh pool-destroy "$1" >/dev/null 2>&1 || true
	in_virsh pool-undefine "$1" >/dev/null || true
}

# end_rest ends the remaining processes in the namespace, all of which the lab or
# tests started.
end_rest() {
	local pid
	for pid in $(ip netns pids "$LAB_NAME"); do
		[ "$pid" != $$ ] || continue
		say "ending $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c 1-80)"
		end_pid "$pid" || true
	done
}
