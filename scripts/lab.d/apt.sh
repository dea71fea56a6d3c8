# Debian 13's packages: an apt state of the lab's own on the machine's mirror,
# and the repository that the guests see.
# shellcheck shell=bash

# What a test may install in a guest, with all that it needs.
LAB_REPOSITORY_PACKAGES=(
	postgresql-17 postgresql-client-17 postgresql-common qemu-guest-agent eatmydata locales
)

# mirror prints the Debian mirror that this machine itself is set up with.
mirror() {
	local found
	# shellcheck disable=SC2016 # apt's own placeholders
	found=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
		awk '$3 == "main" && $4 == "Debian" && $2 !~ /-/ { print $1; exit }')
	[ -n "$found" ] || die "no Debian mirror among this machine's apt sources, or never updated: run apt-get update"
	echo "${found%/}"
}

LAB_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# apt_conf prints the settings of the private apt state: as if nothing were
# installed, so that what it resolves doesn't depend on this machine.
apt_conf() {
	cat <<TEXT
Dir::State "$LAB_CACHE/apt/state";
Dir::State::status "$LAB_CACHE/apt/status";
Dir::Cache "$LAB_CACHE/apt/cache";
Dir::Etc::sourcelist "$LAB_CACHE/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
TEXT
}

private_apt() {
	local tool=$1
	shift
	APT_CONFIG=$LAB_CACHE/apt/apt.conf "$tool" "$@" 9>&-
}

# apt_update brings the private state up to date, once in six hours: its lists
# decide which image and which repository are the current ones. Where the
# mirror can't be reached, older lists do.
apt_update() {
	local stamp=$LAB_CACHE/apt/updated
	if [ -n "$(find "$stamp" -mmin -360 2>/dev/null)" ]; then
		return 0
	fi
	mkdir -p "$LAB_CACHE"/apt/{state/lists/partial,cache/archives/partial}
	: >"$LAB_CACHE/apt/status"
	echo "deb [signed-by=$LAB_KEYRING] $(mirror) $LAB_SUITE main" >"$LAB_CACHE/apt/sources.list"
	apt_conf >"$LAB_CACHE/apt/apt.conf"
	# What this machine needs to reach its mirror, for mmdebstrap's own apt.
	apt-config dump | grep -E '^Acquire::(https?|Check-)' >"$LAB_CACHE/apt/bootstrap.conf" || true
	if private_apt apt-get update -qq >&2; then
		touch "$stamp"
		return 0
	fi
	[ -e "$stamp" ] || die "the package lists of $LAB_SUITE can't be fetched from this machine's mirror"
	say "the mirror can't be reached: going by the lists of $(date -r "$stamp" '+%F %T')"
}

# apt_uris PACKAGE... prints address, file name, size and digest of each package
# that installing them on an empty system fetches. Resolving takes seconds, so
# the answer is kept as long as the lists are.
apt_uris() {
	local kept
	kept=$LAB_CACHE/apt/uris-$(printf '%s\n' "$@" | sha256sum | cut -c 1-16)
	if [ ! "$kept" -nt "$LAB_CACHE/apt/updated" ]; then
		private_apt apt-get install --print-uris -y -qq "$@" | grep "^'" | sort >"$kept.new"
		mv "$kept.new" "$kept"
	fi
	cat "$kept"
}

# lab_key makes, once, the key that signs the lab's small index; the image
# trusts it, as a company's image trusts the key of the company's mirror.
lab_key() {
	[ -s "$LAB_CACHE/apt-key.asc" ] && return 0
	export GNUPGHOME=$LAB_CACHE/gnupg
	rm -rf "$GNUPGHOME"
	mkdir -m 0700 "$GNUPGHOME"
	{
		gpg --batch --quiet --passphrase '' --quick-generate-key 'pgapp lab <lab@pgapp.invalid>' rsa3072 sign never
		gpg --batch --quiet --armor --export >"$LAB_CACHE/apt-key.new"
		gpgconf --kill gpg-agent
	} 9>&-
	mv "$LAB_CACHE/apt-key.new" "$LAB_CACHE/apt-key.asc"
}

# repository_path prints the folder to serve, made first if it isn't there. In
# it: debian/, the mirror's own signed index over the packages that we have, and
# lab/, a small index over the same packages, which a slow guest reads quickly.
repository_path() {
	local uris key root
	apt_update
	lab_key
	uris=$(apt_uris "${LAB_REPOSITORY_PACKAGES[@]}")
	key=$({ cat "$LAB_LIB/apt.sh" "$LAB_CACHE/apt-key.asc" && echo "$uris"; } | sha256sum | cut -c 1-16)
	root=$LAB_CACHE/repository-$key
	if [ ! -d "$root" ]; then
		say "making the package repository: $(wc -l <<<"$uris") packages"
		rm -rf "$LAB_CACHE"/repository-*
		mkdir -p "$root.new/debian" "$root.new/lab"
		fetch_packages "$root.new/debian" "$uris"
		fetch_index "$root.new/debian"
		ln -s ../debian/pool "$root.new/lab/pool"
		write_index "$root.new/lab" "$root.new/debian"
		mv "$root.new" "$root"
	fi
	echo "$root"
}

# fetch_packages FOLDER URIS lays the packages out as the mirror does. In the
# addresses '+' and ':' are escaped, on the mirror's disk they aren't.
fetch_packages() {
	local uri file base
	base=$(mirror)
	private_apt apt-get install --download-only -y -qq "${LAB_REPOSITORY_PACKAGES[@]}" >&2 ||
		die "the packages for the lab's repository can't be fetched"
	while read -r uri file _; do
		uri=${uri//\'/}
		uri=$(printf %b "${uri//%/\\x}")
		install -D -m 0644 "$LAB_CACHE/apt/cache/archives/$file" "$1/${uri#"$base"/}"
	done <<<"$2"
	private_apt apt-get clean
}

fetch_index() {
	local path base sum
	base=$(mirror)
	for path in InRelease main/binary-amd64/Packages.xz; do
		mkdir -p "$(dirname "$1/dists/$LAB_SUITE/$path")"
		private_apt /usr/lib/apt/apt-helper -o Debug::NoLocking=1 download-file \
			"$base/dists/$LAB_SUITE/$path" "$1/dists/$LAB_SUITE/$path" >/dev/null ||
			die "the mirror's $path can't be fetched"
	done
	sum=$(sha256sum <"$1/dists/$LAB_SUITE/$path")
	grep -q "^ ${sum%% *} " "$1/dists/$LAB_SUITE/InRelease" || die "the mirror's index changed while it was fetched: try again"
	chmod -R a+rX "$1"
}

# write_index FOLDER POOL writes and signs a Debian index of POOL.
write_index() {
	local dist=$1/dists/$LAB_SUITE
	mkdir -p "$dist/main/binary-amd64"
	(cd "$2" && apt-ftparchive packages pool) >"$dist/main/binary-amd64/Packages"
	gzip -9nk "$dist/main/binary-amd64/Packages"
	apt-ftparchive -o APT::FTPArchive::Release::Origin=Debian -o APT::FTPArchive::Release::Label=Debian \
		-o APT::FTPArchive::Release::Suite=stable -o "APT::FTPArchive::Release::Codename=$LAB_SUITE" \
		-o APT::FTPArchive::Release::Architectures=amd64 -o APT::FTPArchive::Release::Components=main \
		release "$dist" >"$1/Release.new"
	mv "$1/Release.new" "$dist/Release"
	export GNUPGHOME=$LAB_CACHE/gnupg
	{
		gpg --batch --quiet --digest-algo SHA512 --clearsign -o "$dist/InRelease" "$dist/Release"
		gpg --batch --quiet --digest-algo SHA512 --armor --detach-sign -o "$dist/Release.gpg" "$dist/Release"
		gpgconf --kill gpg-agent
	} 9>&-
}

# repository_up serves the repository to the guests, at the bridge's address.
repository_up() {
	local root pid
	root=$(repository_path)
	if [ "$(cat "$LAB_RUN/httpd.root" 2>/dev/null)" != "$root" ]; then
		end_ours httpd
	fi
	if ! our_pid httpd >/dev/null; then
		(
			exec 9>&- # the lock
			exec nsenter --net="$LAB_NETNS" -- setsid /usr/bin/python3 -m http.server \
				--bind "$LAB_ADDRESS" --directory "$root" "$LAB_APT_PORT"
		) </dev/null >"$LAB_RUN/httpd.log" 2>&1 &
		pid=$!
		keep_pid httpd "$pid"
		echo "$root" >"$LAB_RUN/httpd.root"
	fi
	wait_for 20 repository_answers || die "the package repository doesn't answer: see $LAB_RUN/httpd.log"
}

repository_answers() {
	our_pid httpd >/dev/null || die "the package repository's server ended: see $LAB_RUN/httpd.log"
	inside bash -c "exec 3<>/dev/tcp/$LAB_ADDRESS/$LAB_APT_PORT" 2>/dev/null
}
