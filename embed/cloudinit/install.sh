#!/bin/sh
# Installs PostgreSQL 17 in a guest, as root, without a cluster of its own.
# From the environment: PGAPP_PACKAGES; PGAPP_MIRROR and PGAPP_PROXY, which may
# be empty. Safe to repeat.
set -eu
# Offline: the packages would reload systemd again and again, to no purpose.
export DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1
say() { echo "pgapp: $*"; }

if [ -x /usr/lib/postgresql/17/bin/postgres ]; then
	say "PostgreSQL 17 is in the image: $(/usr/lib/postgresql/17/bin/postgres --version)"
	exit 0
fi
. /etc/os-release
pgdg_key=/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc
list=/etc/apt/sources.list.d/pgapp.sources

# Before the package comes: it makes a cluster on port 5432 otherwise.
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/pgapp.conf
# Nothing is to be started here.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT

set -- -q -y -o Acquire::Languages=none -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 \
	-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io -o APT::Install-Recommends=false
if [ -n "$PGAPP_PROXY" ]; then
	set -- "$@" -o "Acquire::http::Proxy=$PGAPP_PROXY" -o "Acquire::https::Proxy=$PGAPP_PROXY"
fi

source_of() { # ADDRESS SUITE [KEY]
	printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$1" "$2"
	[ -z "${3:-}" ] || printf 'Signed-By: %s\n' "$3"
}

case ${ID:-} in
debian)
	# A mirror replaces the image's own sources. Its key is any that the image
	# trusts, Debian's among them.
	if [ -n "$PGAPP_MIRROR" ]; then
		source_of "$PGAPP_MIRROR" "$VERSION_CODENAME" >"$list"
		set -- "$@" -o "Dir::Etc::sourcelist=$list" -o Dir::Etc::sourceparts=-
	fi
	;;
ubuntu)
	# PostgreSQL 17 is PGDG's there. The key comes with a package of Ubuntu's.
	say "reading the package index"
	apt-get "$@" update
	say "installing postgresql-common"
	apt-get "$@" install postgresql-common ca-certificates
	source_of "${PGAPP_MIRROR:-https://apt.postgresql.org/pub/repos/apt}" "$VERSION_CODENAME-pgdg" "$pgdg_key" >"$list"
	;;
*)
	say "this image is neither Debian nor Ubuntu, and has no PostgreSQL 17" >&2
	exit 69
	;;
esac

say "reading the package index"
apt-get "$@" update
say "installing $PGAPP_PACKAGES"
# shellcheck disable=SC2086 # a list of words
apt-get "$@" install $PGAPP_PACKAGES
systemctl disable postgresql.service >/dev/null 2>&1 || true
apt-get clean
rm -rf /var/lib/apt/lists/*
/usr/lib/postgresql/17/bin/postgres --version
