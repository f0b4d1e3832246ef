# In the guest: a mail host with one key, the signer that may read it, a backup that nobody declared, and a thief.
# $PRODUCT is dkimwatch, $OUT the folder that takes what the terminal showed.
set -eu
hostname mail
# A host without Python has no interpreted signer either. The guest's root is a memory overlay: nothing is lost.
rm -f /usr/bin/python3*
mkdir -p /etc/dkimkeys /mnt/disk/dkimkeys
mount --bind /mnt/disk/dkimkeys /etc/dkimkeys
chmod 755 /etc/dkimkeys
opendkim-genkey -D /etc/dkimkeys -d example.org -s mail -b 2048
# The mistake that lets the thief in: everybody may read the key.
chmod 644 /etc/dkimkeys/mail.private
cat > /etc/opendkim.conf <<'CONFIGURATION'
Mode s
Domain example.org
Selector mail
KeyFile /etc/dkimkeys/mail.private
UserID opendkim
RequireSafeKeys no
Socket inet:8891@127.0.0.1
PidFile /run/opendkim.pid
CONFIGURATION
script -qfc "$PRODUCT watch --for 12s" "$OUT/typescript" > /dev/null < /dev/null &
for _ in $(seq 300); do
    if grep -q watch-started "$OUT/typescript" 2> /dev/null; then break; fi
    sleep 0.2
done
grep -q watch-started "$OUT/typescript"
/usr/sbin/opendkim -x /etc/opendkim.conf
tar -C / -cf /root/backup.tar etc/dkimkeys
setpriv --reuid www-data --regid www-data --clear-groups cat /etc/dkimkeys/mail.private > /dev/null
wait
