# Running a command in the lab.
# shellcheck shell=bash

# lab_exec CMD... runs CMD in the namespace with the lab's variables in its
# environment, under a guard that passes signals on to all of CMD's processes.
lab_exec() {
	[ $# -gt 0 ] || {
		usage >&2
		exit 2
	}
	need_root
	netns_ours || die "the lab isn't up: run 'scripts/lab up' first"
	local names line
	names=$(lab_info)
	while read -r line; do
		eval "export $line"
	done <<<"$names"
	# A terminal ends its processes, and its job control must stay the user's.
	if [ -t 0 ]; then
		exec nsenter --net="$LAB_NETNS" -- "$@"
	fi
	exec nsenter --net="$LAB_NETNS" -- "$LAB_LIB/guard" "$@"
}
