#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Have exactly these TCP ports open, of all that this script ever opened: ports.sh apply|look RECORD [PORT...]
#
# Works with firewalld, ufw, or the chain `input` of nftables' table `inet filter`, whichever filters on this host.
# RECORD holds a line "<firewall> <port>" for each port opened here, so that a port that somebody else opened is never
# closed. Each line of output is a change; `look` says them and changes nothing. Status 1 with the reason on standard
# error where a firewall filters that is none of these.
set -eu
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
mode=$1 record=$2
shift 2
wanted=" $* "

nft_rules=/etc/nftables-openngt.nft
nft_include="include \"$nft_rules\""

fail() {
    echo "$1" >&2
    exit 1
}

which_firewall() {
    if firewall-cmd --state >/dev/null 2>&1; then
        echo firewalld
    elif ufw status 2>/dev/null | grep -q '^Status: active'; then
        echo ufw
    elif nft list chain inet filter input >/dev/null 2>&1; then
        echo nftables
    elif [ $# -gt 0 ] && {
        nft list chains 2>/dev/null | grep -q 'hook input .*policy drop' ||
            iptables -S INPUT 2>/dev/null | grep -q '^-P INPUT DROP'
    }; then
        fail "a firewall that the role does not know filters here: open TCP $* in it, then set guest_tools_service_firewall to false"
    else
        echo none
    fi
}

firewalld_has() {
    firewall-cmd --permanent --query-port="$1/tcp" >/dev/null && firewall-cmd --query-port="$1/tcp" >/dev/null
}

firewalld_open() {
    firewall-cmd --permanent --add-port="$1/tcp" >/dev/null 2>&1 && firewall-cmd --add-port="$1/tcp" >/dev/null 2>&1
}

firewalld_close() {
    if firewall-cmd --state >/dev/null 2>&1; then
        firewall-cmd --permanent --remove-port="$1/tcp" >/dev/null 2>&1
        firewall-cmd --remove-port="$1/tcp" >/dev/null 2>&1
    elif command -v firewall-offline-cmd >/dev/null; then
        firewall-offline-cmd --remove-port="$1/tcp" >/dev/null 2>&1
    fi
}

ufw_has() {
    ufw show added | grep -Eq "^ufw allow $1(/tcp)?( comment .*)?\$"
}

ufw_open() {
    ufw allow "$1/tcp" comment openngt >/dev/null
}

ufw_close() {
    ! command -v ufw >/dev/null || ufw delete allow "$1/tcp" >/dev/null
}

# nftables has no command that adds a rule for good: rules stand in a file that the host's own configuration includes.
nft_configuration() {
    for file in /etc/nftables.conf /etc/sysconfig/nftables.conf; do
        [ ! -f "$file" ] || { echo "$file" && return; }
    done
    fail "nftables filters here, but neither /etc/nftables.conf nor /etc/sysconfig/nftables.conf is there to keep a rule"
}

nft_rule() {
    echo "tcp dport $1 accept comment \"openngt\""
}

nftables_has() {
    nft list chain inet filter input | grep -qF "$(nft_rule "$1")" &&
        grep -qxF "insert rule inet filter input $(nft_rule "$1")" "$nft_rules" 2>/dev/null &&
        grep -qxF "$nft_include" "$(nft_configuration)"
}

nftables_open() {
    configuration=$(nft_configuration)
    line="insert rule inet filter input $(nft_rule "$1")"
    grep -qxF "$line" "$nft_rules" 2>/dev/null || echo "$line" >>"$nft_rules"
    if ! grep -qxF "$nft_include" "$configuration"; then
        [ -z "$(tail -c 1 "$configuration")" ] || echo >>"$configuration"
        echo "$nft_include" >>"$configuration"
    fi
    if ! reason=$(nft -c -f "$configuration" 2>&1); then
        nftables_forget "$1"
        fail "$configuration would not load with our rule for the chain input of table inet filter: $reason"
    fi
    nft list chain inet filter input | grep -qF "$(nft_rule "$1")" || nft "$line"
}

nftables_close() {
    nftables_forget "$1"
    # A configuration that does not flush the old rules gives a second copy with each load.
    nft -a list chain inet filter input 2>/dev/null | grep -F "$(nft_rule "$1")" | sed 's/.* # handle //' |
        while read -r handle; do nft delete rule inet filter input handle "$handle"; done
}

nftables_forget() {
    [ -f "$nft_rules" ] || return 0
    kept=$(grep -vxF "insert rule inet filter input $(nft_rule "$1")" "$nft_rules") || true
    if [ -n "$kept" ]; then
        echo "$kept" >"$nft_rules"
    else
        configuration=$(nft_configuration)
        # The file may be a link, and keeps its mode.
        kept=$(grep -vxF "$nft_include" "$configuration") || true
        echo "$kept" >"$configuration"
        rm "$nft_rules"
    fi
}

close_others() { # close_others FIREWALL: what is on record and no longer wanted of this firewall
    [ -f "$record" ] || return 0
    while read -r of port; do
        case "$of$wanted" in "$1"*" $port "*) continue ;; esac
        echo "closed TCP $port in $of"
        [ "$mode" = apply ] || continue
        "${of}_close" "$port" </dev/null
        left=$(grep -vxF "$of $port" "$record") || true
        if [ -n "$left" ]; then echo "$left" >"$record"; else rm "$record"; fi
    done <<LINES
$(cat "$record")
LINES
}

firewall=$(which_firewall "$@")
close_others "$firewall"
[ "$firewall" != none ] || exit 0
for port; do
    ! "${firewall}_has" "$port" || continue
    echo "opened TCP $port in $firewall"
    [ "$mode" = apply ] || continue
    # On record first: a port that is on record and not open is opened by the next run.
    grep -qxF "$firewall $port" "$record" 2>/dev/null || echo "$firewall $port" >>"$record"
    "${firewall}_open" "$port" || fail "$firewall does not open TCP $port"
done
