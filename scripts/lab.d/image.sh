# The disk image: Debian 13 from its packages, laid out like the distributions'
# cloud images, without loop devices. It has no PostgreSQL.
# shellcheck shell=bash

# As Debian's own cloud images: networkd through netplan, no ifupdown and no
# DHCP client besides networkd's; the small cloud kernel (virtio, no AHCI).
LAB_IMAGE_PACKAGES=(
	apparmor bash-completion ca-certificates cloud-guest-utils cloud-init curl dbus dosfstools
	e2fsprogs ethtool fdisk grub-efi-amd64-bin grub2-common init initramfs-tools iproute2
	iputils-ping less libnss-resolve libpam-systemd linux-image-cloud-amd64 locales logrotate
	nano netbase netplan.io openssh-client openssh-server openssh-sftp-server polkitd procps
	python3 screen socat sudo systemd-resolved systemd-sysv systemd-timesyncd tzdata udev
	unattended-upgrades uuid-runtime vim-tiny wget whiptail xz-utils zstd
)

LAB_IMAGE_MIB=3072
LAB_ESP_START=2048
LAB_ROOT_START=262144 # sectors of 512 bytes: the ESP ends at 128 MiB
LAB_ROOT_UUID=6f1e0d3a-5a0f-4c5e-9d35-5b7f9f0c1a13
LAB_ESP_ID=A1B2C3D4

# image_path prints the image's path, built first unless it is cached.
image_path() {
	local key path
	if [ -n "${PGAPP_LAB_IMAGE:-}" ]; then
		[ -f "$PGAPP_LAB_IMAGE" ] || die "PGAPP_LAB_IMAGE: no file $PGAPP_LAB_IMAGE"
		readlink -f "$PGAPP_LAB_IMAGE"
		return 0
	fi
	apt_update
	lab_key
	key=$(image_key)
	path=$LAB_CACHE/images/debian-13-$key.qcow2
	if [ ! -f "$path" ]; then
		say "building the image (two to three minutes; log in $LAB_RUN/image.log)"
		mkdir -p "$LAB_CACHE/images"
		# In a process of its own, which stops at the first error and is ended,
		# with its mounts and scratch folder, if we are.
		guarded "$0" build-image "$path" >"$LAB_RUN/image.log" 2>&1 || {
			tail -n 20 "$LAB_RUN/image.log" >&2
			die "the image can't be built: see $LAB_RUN/image.log"
		}
	fi
	touch "$path"
	# Two older ones stay, for those who go back and forth between branches.
	find "$LAB_CACHE/images" -name 'debian-13-*.qcow2' -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d ' ' -f 2- | xargs -r rm -f
	echo "$path"
}

# image_key is the digest of all that the image is made of: this script, the
# trusted key, and the name, version and digest of every package.
image_key() {
	{
		cat "$LAB_LIB/image.sh" "$LAB_CACHE/apt-key.asc"
		apt_uris '?essential' apt "${LAB_IMAGE_PACKAGES[@]}"
	} | sha256sum | cut -c 1-16
}

# image_build FILE makes the image. The caller holds the lock.
image_build() {
	local work root
	rm -rf --one-file-system "$LAB_CACHE"/build.* # of one that was killed
	work=$(mktemp -d "$LAB_CACHE/build.XXXXXX")
	# shellcheck disable=SC2064 # the folder of now
	trap "rm -rf --one-file-system '$work'" EXIT
	root=$work/root
	TMPDIR=$work mmdebstrap --mode=root --variant=minbase --architectures=amd64 --format=directory \
		--include="$(IFS=, && echo "${LAB_IMAGE_PACKAGES[*]}")" \
		--aptopt="$LAB_CACHE/apt/bootstrap.conf" \
		"$LAB_SUITE" "$root" "$(cat "$LAB_CACHE/apt/sources.list")"
	image_configure "$root"
	image_disk "$root" "$work/disk.raw" "$work"
	qemu-img convert -c -f raw -O qcow2 "$work/disk.raw" "$work/disk.qcow2"
	chmod 0644 "$work/disk.qcow2"
	mv "$work/disk.qcow2" "$1"
}

# image_configure ROOT does what the images' makers do after the packages.
image_configure() {
	local root=$1
	image_boot_files "$root"
	image_apt "$root"
	cat >"$root/etc/fstab" <<TEXT
UUID=$LAB_ROOT_UUID / ext4 rw,discard,errors=remount-ro 0 1
UUID=${LAB_ESP_ID:0:4}-${LAB_ESP_ID:4} /boot/efi vfat defaults 0 2
TEXT
	mkdir -p "$root/boot/efi"
	ln -sfn ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
	echo localhost >"$root/etc/hostname"
	printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
	echo 'LANG=C.UTF-8' >"$root/etc/default/locale"
	chroot "$root" systemctl enable systemd-networkd systemd-resolved systemd-timesyncd ssh
	chroot "$root" passwd --lock root
	# Identity belongs to the guest, not to the image.
	rm -f "$root"/etc/ssh/ssh_host_*_key* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
	: >"$root/etc/machine-id"
	rm -rf "$root"/var/log/journal/* "$root"/var/lib/cloud/* "$root"/tmp/* "$root"/var/tmp/*
}

# image_boot_files ROOT writes GRUB's settings, and the menu that update-grub
# would write in a running guest.
image_boot_files() {
	local root=$1 kernel
	kernel=$(basename "$(echo "$root"/boot/vmlinuz-*)")
	mkdir -p "$root/boot/grub"
	cat >"$root/etc/default/grub" <<'TEXT'
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --speed=115200"
TEXT
	cat >"$root/boot/grub/grub.cfg" <<TEXT
serial --speed=115200
terminal_input console serial
terminal_output console serial
set default=0
set timeout=5
menuentry 'Debian GNU/Linux' {
	search --no-floppy --fs-uuid --set=root $LAB_ROOT_UUID
	linux /boot/$kernel root=UUID=$LAB_ROOT_UUID ro console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0
	initrd /boot/initrd.img-${kernel#vmlinuz-}
}
TEXT
}

# image_apt ROOT leaves the mirror that the packages came from, in today's form,
# as the images do. No guest of the lab reaches it.
image_apt() {
	local root=$1
	rm -f "$root/etc/apt/sources.list" "$root/etc/apt/apt.conf.d/99mmdebstrap"
	cat >"$root/etc/apt/sources.list.d/debian.sources" <<TEXT
Types: deb
URIs: $(mirror)
Suites: $LAB_SUITE
Components: main
Signed-By: $(find "$root/usr/share/keyrings" -name 'debian-archive-keyring.*' -printf '/usr/share/keyrings/%f\n' | sort | head -n 1)
TEXT
	install -m 0644 "$LAB_CACHE/apt-key.asc" "$root/etc/apt/trusted.gpg.d/pgapp-lab.asc"
	rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
}

# image_disk ROOT FILE WORK makes the disk: GPT with the root file system as
# partition 1 at the end, where it can grow, and the ESP as 15 before it.
image_disk() {
	local root=$1 disk=$2 work=$3 sectors
	sectors=$((LAB_IMAGE_MIB * 2048 - 2048 - LAB_ROOT_START))
	truncate -s "${LAB_IMAGE_MIB}M" "$disk"
	sfdisk -q "$disk" <<TEXT
label: gpt
unit: sectors
15: start=$LAB_ESP_START, size=$((LAB_ROOT_START - LAB_ESP_START)), type=U
1: start=$LAB_ROOT_START, size=$sectors, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
TEXT
	# The loader's ext2 driver is older than these two features.
	mke2fs -q -F -t ext4 -U "$LAB_ROOT_UUID" -L root -O ^metadata_csum_seed,^orphan_file \
		-E "offset=$((LAB_ROOT_START * 512)),root_owner=0:0" -d "$root" "$disk" "$((sectors / 2))k"
	image_esp "$work"
	dd if="$work/esp.img" of="$disk" bs=1M seek=$((LAB_ESP_START / 2048)) conv=notrunc,sparse status=none
}

image_esp() {
	cat >"$1/grub.cfg" <<TEXT
search --no-floppy --fs-uuid --set=root $LAB_ROOT_UUID
configfile (\$root)/boot/grub/grub.cfg
TEXT
	grub-mkstandalone -O x86_64-efi -o "$1/BOOTX64.EFI" --locales= --fonts= --themes= \
		--modules="part_gpt ext2 fat search search_fs_uuid linux configfile serial terminal normal echo test gzio all_video" \
		"boot/grub/grub.cfg=$1/grub.cfg"
	truncate -s "$(((LAB_ROOT_START - LAB_ESP_START) * 512))" "$1/esp.img"
	mkfs.vfat -i "$LAB_ESP_ID" -n ESP "$1/esp.img" >/dev/null
	mmd -i "$1/esp.img" ::EFI ::EFI/BOOT
	mcopy -i "$1/esp.img" "$1/BOOTX64.EFI" ::EFI/BOOT/BOOTX64.EFI
}
