# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
# shellcheck shell=bash
#
# For ./kernel, ./qemu and ./qemu_current to source: Debian packages, fetched and unpacked in the cache,
# nothing installed. apt runs on a configuration of its own there: the suites of Debian 12 that the
# machine is configured with, and backports from the same mirror. Progress goes to standard error.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rmio/vm
release=bookworm
apt=$cache/apt

die() {
	echo "${me-vm}: $*" >&2
	exit 1
}

# apt_run COMMAND [ARGUMENT]...: apt-get or apt-cache, which touches nothing outside the cache.
apt_run() {
	"$1" -q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 "${@:2}"
}

# sources: a sources.list.
sources() {
	# apt's own fields
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(REPO_URI)' |
		awk -v release=$release '
			$1 != "Packages" { next }
			$2 == release && !uri { uri = $3 }
			$2 == release || $2 == release "-security" || $2 == release "-updates" {
				print "deb", $3, $2, "main"
			}
			END { if (uri) print "deb", uri, release "-backports", "main" }' |
		sort -u
}

apt_update() {
	mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial
	sources >"$apt/sources.list"
	[ -s "$apt/sources.list" ] || die "apt is configured with no source of Debian 12 ($release)"
	apt_run apt-get update >&2 || die "apt cannot read the sources in $apt/sources.list"
}

# unpack PACKAGE=VERSION|PACKAGE/SUITE DIRECTORY: fetch that package and unpack it there.
unpack() {
	local deb=$2.deb

	mkdir -p "$deb" "$2"
	echo "vm: fetching $1" >&2
	(cd "$deb" && apt_run apt-get download "$1" >&2) || die "cannot fetch $1"
	dpkg-deb -x "$deb"/*.deb "$2" || die "cannot unpack $1"
	rm -r "$deb"
}

# once DIRECTORY FUNCTION: have FUNCTION make the directory, under the name $new, unless it exists.
once() {
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock 9
	if [ ! -d "$1" ]; then
		new=$1.new.$$
		trap 'rm -rf "$new" "$new".*' EXIT
		rm -rf "$1".new.*
		mkdir "$new"
		"$2"
		mv "$new" "$1"
	fi
	exec 9>&-
}
