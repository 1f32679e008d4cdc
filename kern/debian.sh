# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# To source, after selftests/vm/apt.sh: sources and headers of a kernel of Debian's, $linux; unless that is set,
# of the 6.12 that the VM runs. They are fetched, or are there as packages that are installed.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/tree.sh"
: "${linux:=$(cat "$("$kern/../selftests/vm/kernel" 6.12)/release")}"
headers=/lib/modules/$linux	# where they are installed
[ -e "$headers/build/Makefile" ] || headers=$cache/linux-headers-$linux
parts=("${kvm_files[@]}" '*/scripts/checkpatch.pl' '*/scripts/spelling.txt'
	'*/scripts/const_structs.checkpatch')
source=$cache/kvm-source-$linux-$(echo "${parts[@]}" | sha256sum | cut -c 1-8)

# known_releases: those 6.12 that apt has headers of, the newest last
known_releases() {
	apt_run apt-cache search --names-only '^linux-headers-6\.12\.[0-9].*-amd64$' |
		sed -nE 's/^linux-headers-([^ ]*) .*/\1/p' | sort -V
}

# version: of the packages that this kernel came from; empty if apt has none
version() {
	apt_run apt-cache policy "linux-headers-$linux" |
		awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

# refresh: apt's lists, or how to do without them
refresh() {
	(apt_update) || die "nothing can be fetched for $linux; what is installed is taken as well, as root:
apt-get install linux-headers-$linux linux-source-6.12"
}

# installed_source: the source package, if it is installed and of this kernel
installed_source() {
	local v

	v=$(dpkg-query -W -f '${Version}' linux-source-6.12 2>/dev/null) || return 1
	[[ $linux == "${v%%-*}"[+-]* ]] && echo /usr/src/linux-source-6.12.tar.xz
}

# unpack_source DIRECTORY [PATTERN...]: Linux, or those parts of it, from the source package
unpack_source() {
	local tar v patterns=()

	if ! tar=$(installed_source); then
		refresh
		v=$(version)
		[ "$v" ] || die "apt has no sources of $linux, and linux-source-6.12 of it is not installed;
it has: $(known_releases | tr '\n' ' ')"
		unpack "linux-source-6.12=$v" "$new.root"
		tar=$(echo "$new.root"/usr/src/linux-source-*.tar.xz)
	fi
	[ $# = 1 ] || patterns=(--wildcards "${@:2}")
	echo "kern: unpacking the sources of $linux" >&2
	tar -xf "$tar" -C "$1" --strip-components=1 "${patterns[@]}"
	rm -rf "$new.root"
}

fetch_source() {
	unpack_source "$new" "${parts[@]}"
}

# fetch_headers: as they would be installed
fetch_headers() {
	local v package

	refresh
	v=$(version)
	[ "$v" ] || die "apt has no headers of $linux; it has: $(known_releases | tr '\n' ' ')"
	unpack "linux-headers-$linux=$v" "$new"
	# the common ones, and the programs that build
	for package in $(apt_run apt-cache show "linux-headers-$linux=$v" |
		sed -nE '/^Depends:/s/[,:]|\([^)]*\)/ /gp' | tr ' ' '\n' |
		grep -E '^linux-(headers|kbuild)-'); do
		unpack "$package=$v" "$new"
	done
	# it names its place in an installed system
	sed -i "s|/usr/src/|$headers/usr/src/|" "$new/usr/src/linux-headers-$linux/Makefile"
	ln -s "usr/src/linux-headers-$linux" "$new/build"
}
