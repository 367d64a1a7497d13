#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Install openngt from the folder that this file lies in, without a network: openngt, ansible-core and the collections, in a
# virtual environment. Run again, from the same bundle or a later one, it upgrades.
#
#   sh install.sh --check     only compare every file with SHA256SUMS
#   sh install.sh FOLDER      compare, then install into FOLDER; PYTHON=python3.12 chooses the Python
set -eu

fail() {
    echo "install.sh: $1" >&2
    echo "remedy: $2" >&2
    exit 1
}

case ${1:-} in
"" | -h | --help)
    sed -n '3,7s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
target=$1
case $target in /* | --check) ;; *) target=$PWD/$target ;; esac
cd "$(dirname "$0")"

# A wheel that stands in no list is as bad as one that was altered: pip would take it for its higher version.
found=$(find . ! -type d ! -path ./SHA256SUMS | sed 's|^\./||' | LC_ALL=C sort)
listed=$(sed 's/^[0-9a-f]*  //' SHA256SUMS | LC_ALL=C sort)
[ "$found" = "$listed" ] || fail "the bundle holds other files than SHA256SUMS lists" \
    "unpack it again into an empty folder; if that does not help, fetch it again"
sha256sum --check --strict --quiet SHA256SUMS || fail "the files above are not those that SHA256SUMS lists" "fetch the bundle again"
[ "$target" != --check ] || {
    echo "$(wc -l <SHA256SUMS) files are as SHA256SUMS lists them"
    exit 0
}

python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not start" \
    "name a Python that this bundle is for: PYTHON=python3.11 sh install.sh FOLDER"
grep -qx "$version $(uname -m)" platforms || fail "this bundle is not for Python $version on $(uname -m)" \
    "take one of these by PYTHON=…, or make the bundle for yours: $(tr '\n' ',' <platforms | sed 's/,$//; s/,/, /g')"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no ensurepip" "install the package python3-venv"

"$python" -m venv "$target"
PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1 "$target/bin/pip" install --quiet --upgrade --no-index --find-links wheels \
    -r requirements.txt
# Beside the Python packages, Ansible of this environment finds them whatever is configured.
site=$("$target/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
export ANSIBLE_COLLECTIONS_PATH="$site" ANSIBLE_HOME="$target/.ansible" ANSIBLE_CONFIG="$target/.ansible/ansible.cfg"
mkdir -p "$ANSIBLE_HOME"
: >"$ANSIBLE_CONFIG"
"$target/bin/ansible-galaxy" collection install --force --offline -p "$site" collections/*.tar.gz >/dev/null
rm -rf "$ANSIBLE_HOME"
echo "$("$target/bin/openngt" --version) is in $target/bin, with ansible-core $("$target/bin/python" -c 'from ansible.release import __version__ as v; print(v)')"
