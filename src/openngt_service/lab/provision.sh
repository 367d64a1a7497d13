#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Turns a fresh Debian tree ($1) into the lab's guest. Runs as a hook of mmdebstrap, before the image is made.
#
# The image holds no key and no password: each VM gets its own through QEMU's fw_cfg at every boot (unit lab-seed), so one
# image serves every lab of this user, and a copied image opens nothing.
set -eu
root=$1

put() { # put MODE PATH: standard input becomes the file
    install -D -m "$1" /dev/stdin "$root$2"
}

put 0644 /etc/systemd/network/10-lab.network <<'EOF'
[Match]
Name=en* eth*

[Network]
DHCP=ipv4
LinkLocalAddressing=no
EOF
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf" # QEMU's user network
echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
echo localhost >"$root/etc/hostname"

# What the tests' people are: root by key, a sudoer without and a sudoer with a password.
for user in admin operator; do
    chroot "$root" groupadd --force "$user" # Debian has a group `operator` already
    chroot "$root" useradd --create-home --shell /bin/bash --gid "$user" "$user"
done
put 0440 /etc/sudoers.d/lab <<'EOF'
admin ALL=(ALL) NOPASSWD: ALL
operator ALL=(ALL) ALL
EOF

rm -f "$root"/etc/ssh/ssh_host_*
put 0644 /etc/ssh/sshd_config.d/lab.conf <<'EOF'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
EOF

echo qemu_fw_cfg >"$root/etc/modules-load.d/lab.conf"
put 0755 /usr/lib/openngt-lab/seed <<'EOF'
#!/bin/sh
set -eu
seed=/sys/firmware/qemu_fw_cfg/by_name/opt/openngt-lab
umask 077
cat "$seed/host_key/raw" >/etc/ssh/ssh_host_ed25519_key
for user in root admin operator; do
    home=$(getent passwd "$user" | cut -d: -f6)
    install -d -m 0700 -o "$user" -g "$user" "$home/.ssh"
    keys=$home/.ssh/authorized_keys
    grep -qsxF -f "$seed/authorized_keys/raw" "$keys" || cat "$seed/authorized_keys/raw" >>"$keys" # cloud-init's stay
    chown "$user:$user" "$keys"
done
{ printf operator: && cat "$seed/operator_password/raw"; } | chpasswd
EOF
put 0644 /etc/systemd/system/lab-seed.service <<'EOF'
[Unit]
Description=Keys and password of this lab VM, from QEMU
ConditionPathExists=/sys/firmware/qemu_fw_cfg/by_name/opt/openngt-lab
After=local-fs.target systemd-modules-load.service
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/lib/openngt-lab/seed
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
EOF
chroot "$root" systemctl enable --quiet lab-seed.service systemd-networkd.service ssh.service
# Work of an ordinary machine that would only slow an emulated one down.
chroot "$root" systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-networkd-wait-online.service systemd-random-seed.service

# cloud-init is off unless the VM's kernel is told otherwise (`lab up --cloud-init`): to start it takes an emulated guest
# half a minute. Host keys come from QEMU, so it deletes none; what it does without being asked is left out.
put 0644 /etc/cloud/cloud.cfg.d/90-lab.cfg <<'EOF'
datasource_list: [NoCloud, ConfigDrive, None]
disable_root: false
ssh_deletekeys: false
ssh_genkeytypes: [ed25519]
locale: C.UTF-8
resize_rootfs: false
growpart:
  mode: "off"
grub_dpkg:
  enabled: false
system_info:
  default_user:
    name: admin
EOF
