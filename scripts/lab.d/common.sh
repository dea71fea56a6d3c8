# Shared by the lab's parts: messages, the lock, deadlines, and the lab's
# processes.
# shellcheck shell=bash

say() { printf 'lab: %s\n' "$*" >&2; }

die() {
	printf 'lab: %s\n' "$*" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" = 0 ] || die "needs root: it makes a network namespace and starts libvirtd (you are uid $(id -u))"
	command -v apt-get >/dev/null || die "needs apt-get: it installs libvirt and builds its image from Debian's packages"
}

# take_lock excludes another up, down or image. Its holder may be building the
# image, which takes minutes.
take_lock() {
	mkdir -p "$LAB_DIR"
	exec 9>"$LAB_DIR/lock"
	flock -w 900 9 || die "another 'scripts/lab' has held $LAB_DIR/lock for 15 minutes"
}

# wait_for SECONDS CMD... runs CMD ten times a second until it succeeds; fails
# at the deadline.
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.1
	done
}

# start_time PID prints the boot and the start tick of a process, which
# distinguish it from a later process of the same number. Fails if it has ended.
start_time() {
	local stat state
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	# The name in field 2 may contain blanks: count from its closing bracket.
	read -r -a stat <<<"${stat##*) }"
	state=${stat[0]}
	[ "$state" != Z ] || return 1
	echo "$(cat /proc/sys/kernel/random/boot_id) ${stat[19]}"
}

# keep_pid NAME PID records a process as the lab's.
keep_pid() {
	local since
	since=$(start_time "$2") || die "$1 ended at once: see $LAB_RUN/$1.log"
	echo "$2 $since" >"$LAB_RUN/$1.proc"
}

# our_pid NAME prints the process recorded under NAME if it still runs.
our_pid() {
	local pid since
	read -r pid since 2>/dev/null <"$LAB_RUN/$1.proc" || return 1
	[ "$(start_time "$pid")" = "$since" ] || return 1
	echo "$pid"
}

pid_gone() { ! start_time "$1" >/dev/null; }

# end_pid PID ends a process: TERM, and KILL if it hasn't ended in 15 s.
end_pid() {
	kill -TERM "$1" 2>/dev/null || return 0
	wait_for 15 pid_gone "$1" && return 0
	kill -KILL "$1" 2>/dev/null || return 0
	wait_for 5 pid_gone "$1"
}

# end_ours NAME ends the process recorded under NAME, and no other.
end_ours() {
	local pid
	if pid=$(our_pid "$1"); then
		end_pid "$pid"
	fi
	rm -f "$LAB_RUN/$1.proc"
}

# inside CMD... runs CMD in the lab's network, but not by 'ip netns exec', which
# mounts a new /sys and hides the cgroups. CMD doesn't inherit the lock, which a
# daemon would hold forever.
inside() { nsenter --net="$LAB_NETNS" -- "$@" 9>&-; }

# A unix socket with a path is reachable from any network namespace.
in_virsh() { virsh -q -c "qemu+unix:///system?socket=$LAB_SOCKET" "$@" 9>&-; }

# guarded CMD... runs CMD without the lock; a signal ends CMD with all its
# processes.
guarded() {
	local job code=0
	"$LAB_LIB/guard" "$@" </dev/null 9>&- &
	job=$!
	# shellcheck disable=SC2064 # the present job
	trap "kill -TERM $job; wait $job; exit 143" TERM INT HUP
	wait "$job" || code=$?
	trap - TERM INT HUP
	return $code
}
