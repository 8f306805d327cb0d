#!/bin/bash
# inside.sh DIRECTORY: Process 1 of a Grid Engine of one host, in namespaces of its own. It is killed to end everything.
# The host has this machine's system, with a cell and a spool of its own.
set -euo pipefail
directory=$1
checkout=$(cd "$(dirname "$0")/../.." && pwd -P)
read -ra outside </proc/self/stat  # as those outside know this process: their /proc is still mounted
mount -t proc proc /proc
hostname login
ip link set lo up
ip address add 10.78.0.1/24 dev lo
printf '127.0.0.1 localhost\n10.78.0.1 login\n' >"$directory/hosts"
mount --bind "$directory/hosts" /etc/hosts
{ grep -v '^tester:' /etc/passwd; echo "tester:x:1001:1001::$directory/shared:/bin/bash"; } >"$directory/passwd"
mount --bind "$directory/passwd" /etc/passwd
{ grep -v '^tester:\|:1001:' /etc/group; echo "tester:x:1001:"; } >"$directory/group"  # qsub refuses an id without a name
mount --bind "$directory/group" /etc/group
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/spool/gridengine
mount -t tmpfs -o mode=755 tmpfs /var/lib/gridengine/default
mkdir /run/checkout
mount --rbind "$checkout" /run/checkout
mount -t tmpfs -o mode=1777 tmpfs /tmp
if [[ $checkout == /tmp/* ]]; then
  mkdir -p "$checkout"
  mount --move /run/checkout "$checkout"
fi
install -d -o sgeadmin -g sgeadmin /run/gridengine /var/lib/gridengine/default/common
install -d -o sgeadmin -g sgeadmin /var/spool/gridengine/{qmaster/job_scripts,spooldb,execd}
cat >/var/lib/gridengine/default/common/bootstrap <<'END'
admin_user sgeadmin
default_domain none
ignore_fqdn false
spooling_method berkeleydb
spooling_lib libspoolb
spooling_params /var/spool/gridengine/spooldb
binary_path /usr/sbin
qmaster_spool_dir /var/spool/gridengine/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
END
echo login >/var/lib/gridengine/default/common/act_qmaster
chown -R sgeadmin: /var/lib/gridengine/default /var/spool/gridengine
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
setpriv --reuid=sgeadmin --regid=sgeadmin --init-groups --reset-env \
  /usr/share/gridengine/scripts/init_cluster $SGE_ROOT $SGE_CELL /var/spool/gridengine/spooldb sgeadmin
sge_qmaster
until qconf -sh >/dev/null 2>&1; do sleep 0.1; done
qconf -as login
for name in load_scaling complex_values user_lists xuser_lists projects xprojects usage_scaling report_variables; do
  echo "$name NONE"
done | sed '1i hostname login' >/run/host
qconf -Ae /run/host
cat >/run/pe <<'END'
pe_name smp
slots 99
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves TRUE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
END
qconf -Ap /run/pe
qconf -ssconf | sed 's/^schedule_interval.*/schedule_interval 0:0:1/; s/^flush_submit_sec.*/flush_submit_sec 1/; s/^flush_finish_sec.*/flush_finish_sec 1/' >/run/scheduler
qconf -Msconf /run/scheduler
sge_execd
until qhost -h login 2>/dev/null | grep -q 'lx-'; do sleep 0.1; done
qconf -sq | sed 's/^qname.*/qname all.q/; s/^hostlist.*/hostlist login/; s/^slots.*/slots 4/; s/^pe_list.*/pe_list smp/
  s/^ckpt_list.*/ckpt_list NONE/; s/^load_thresholds.*/load_thresholds NONE/' >/run/queue
qconf -Aq /run/queue
until qstat -f | grep -q '^all.q@login.*/4 .*lx-[^ ]* *$'; do sleep 0.1; done
echo "${outside[0]}" >"$directory/pid.new"
mv "$directory/pid.new" "$directory/pid"
exec sleep infinity
