#!/bin/sh
# Installs edge-agent as a service of this gateway, or upgrades it in place.
#
#   install_edge_service.sh [OPTION]... [--datadirpath PATH]
#
# --datadirpath, the last option, is the data directory on the share that all nodes of the site
# use: the first node makes it, the others find it. Without it the node runs alone.
#
# It runs again without harm: what is there already stays, what was given changes. If a step
# fails, what was done before it is undone. It uses no network. Exit codes: 0, 64 usage, 69 cannot
# be installed here, 75 not now, 78 the data directory or the configuration is wrong.
# shellcheck disable=SC2015,SC2317,SC2030,SC2031 # a && b || fail; steps that the trap calls; by_old
set -eu
umask 022

usage() {
    cat <<'TEXT'
usage: install_edge_service.sh [OPTION]... [--datadirpath PATH]
       upgrade_edge_service.sh [OPTION]... [--datadirpath PATH]

  --datadirpath PATH     the data directory on the share; without it the node runs alone
  --site-id ID           the site that the data directory must be of: then none is ever made
  --node NAME            this node's name; default: host name and four digits of the machine's id
  --console-port PORT    where the console listens on this host; default: 8480, or as edge.json says
  --require-network-share  refuse a data directory on a file system of this host alone
  --prefix DIR           where the binary goes: DIR/sbin/edge-agent; default: /usr
  --user NAME            who the agent runs as, made if missing; default: edge-agent
  --init SYSTEM          systemd, sysv, procd or auto; default: auto
  --binary FILE          the program to install; default: edge-agent beside this script or above it
  --allow-downgrade      install an older version than the one that is there
  --no-start             do not start the service
  --uninstall            take the service away; data and /etc/default/edge-agent stay
  --dry-run              say what would be done, and do nothing
  --help                 print this
TEXT
}

DEFAULTS=/etc/default/edge-agent
UNIT=/etc/systemd/system/edge-agent.service
SCRIPT=/etc/init.d/edge-agent
RUN_DIR=/run/edge-agent
ALONE_DATA_DIR=/var/lib/edge-agent
# a share that hangs may hold up whoever touches it
SHARE_S_MAX=20
HERE=$(cd "$(dirname "$0")" && pwd)

say() { echo "edge-agent: $*"; }
fail() { # CODE TEXT
    code=$1
    shift
    echo "edge-agent: $*" >&2
    exit "$code"
}

# --- what is asked for ------------------------------------------------------------------------

data_dir='' site='' node='' port='' network='' prefix='' user='' init=auto binary=''
downgrade=no start=yes uninstall=no dry=no upgrade=no

value() { # OPTION COUNT VALUE
    [ "$2" -ge 2 ] && [ -n "$3" ] || fail 64 "$1: expected a value; see --help"
}

while [ $# -gt 0 ]; do
    case $1 in
    --datadirpath) value "$1" $# "${2-}"; data_dir=$2; shift ;;
    --site-id) value "$1" $# "${2-}"; site=$2; shift ;;
    --node) value "$1" $# "${2-}"; node=$2; shift ;;
    --console-port) value "$1" $# "${2-}"; port=$2; shift ;;
    --require-network-share) network=1 ;;
    --prefix) value "$1" $# "${2-}"; prefix=$2; shift ;;
    --user) value "$1" $# "${2-}"; user=$2; shift ;;
    --init) value "$1" $# "${2-}"; init=$2; shift ;;
    --binary) value "$1" $# "${2-}"; binary=$2; shift ;;
    --allow-downgrade) downgrade=yes ;;
    --no-start) start=no ;;
    --uninstall) uninstall=yes ;;
    --dry-run) dry=yes ;;
    --upgrade) upgrade=yes ;;
    --help) usage; exit 0 ;;
    *) fail 64 "$1 is not an option; see --help" ;;
    esac
    shift
done

# options that are wrong end this with 64, settings that are wrong with 78: what stands in
# /etc/default/edge-agent is read by shells and by systemd, so nothing in it may be to expand
judge_path() { # CODE NAME VALUE
    case $3 in
    *[!A-Za-z0-9._/:@%+=,\ -]*) fail "$1" "$2: $3: only letters, digits, spaces and ._/:@%+=,- are taken" ;;
    '' | /*) ;;
    *) fail "$1" "$2: expected an absolute path, not $3" ;;
    esac
}
judge_site() { # CODE NAME VALUE
    case $3 in
    *[!0-9a-fA-F]*) ;;
    *) case ${#3} in 0 | 32) return 0 ;; esac ;;
    esac
    fail "$1" "$2: expected 32 hex digits, not $3"
}

judge_path 64 --datadirpath "$data_dir"
judge_path 64 --prefix "$prefix"
judge_site 64 --site-id "$site"
# it stands in the unit, where these mean something
case $prefix in *[%\ ]*) fail 64 "--prefix: $prefix: no space or % is taken" ;; esac
if [ -n "$prefix" ]; then
    prefix=$(echo "$prefix" | sed 's|//*|/|g; s|/$||')
    [ -n "$prefix" ] || fail 64 "--prefix: expected a directory below /, such as /usr or /opt/edge-agent"
fi
case $node in *[!a-z0-9-]* | ?????????????????????????????????*) fail 64 "--node: expected 1 to 32 of a-z, 0-9 and -, not $node" ;; esac
case $user in -* | *[!a-z0-9_-]*) fail 64 "--user: expected a user's name, not $user" ;; esac
case $port in
0* | *[!0-9]* | ??????*) fail 64 "--console-port: expected 1 to 65535, not $port" ;;
esac
[ "${port:-1}" -le 65535 ] || fail 64 "--console-port: expected 1 to 65535, not $port"

case $init in
auto)
    if [ -e /etc/rc.common ]; then
        init=procd
    elif [ -d /run/systemd/system ]; then
        init=systemd
    elif [ -d /etc/init.d ]; then
        init=sysv
    else
        fail 69 "no init system was found: name it with --init systemd, sysv or procd"
    fi
    ;;
systemd | sysv | procd) ;;
*) fail 64 "--init: expected systemd, sysv, procd or auto, not $init" ;;
esac

[ "$dry" = yes ] || [ "$(id -u)" = 0 ] || fail 69 "root installs services: run this as root"

# the package has its own service file and scripts, and dpkg its own list of files
if command -v dpkg-query >/dev/null 2>&1 && dpkg-query -S /usr/sbin/edge-agent >/dev/null 2>&1; then
    fail 69 "Debian's package is installed here: apt install ./edge-agent_VERSION_ARCHITECTURE.deb upgrades it," \
        "apt remove edge-agent takes it away"
fi

# --- what is there ----------------------------------------------------------------------------

# as the services have it: read by a shell, with nothing of this one's environment
setting() { # VARIABLE
    [ -r "$DEFAULTS" ] || return 0
    # shellcheck disable=SC2016 # expanded by that shell
    env -i PATH="$PATH" sh -ec '. "$1" >/dev/null; eval "printf \"%s\\n\" \"\${$2-}\""' sh "$DEFAULTS" "$1" ||
        fail 78 "$DEFAULTS: a shell cannot read it: quote values with spaces or signs"
}

# the binary of the service that is installed
installed() {
    for file in "$UNIT" "$SCRIPT"; do
        [ ! -r "$file" ] || sed -n 's/^ExecStart=\([^ ]*\) run.*/\1/p; s/^DAEMON=\(.*\)$/\1/p' "$file"
    done | head -n 1
}

service_user() {
    for file in "$UNIT" "$SCRIPT"; do
        [ ! -r "$file" ] || sed -n 's/^User=\(.*\)$/\1/p; s/^DAEMON_USER=\(.*\)$/\1/p' "$file"
    done | head -n 1
}

# the init system that it is installed for
installed_init() {
    if [ -e "$UNIT" ]; then
        echo systemd
    elif [ -e "$SCRIPT" ]; then
        if head -n 1 "$SCRIPT" | grep -q rc.common; then echo procd; else echo sysv; fi
    fi
}

version_of() { # BINARY
    "$1" --version 2>/dev/null | sed -n 's/^edge-agent \([0-9][0-9.]*\).*/\1/p'
}

# whether version $1 is older than $2
is_older() {
    awk -v a="$1" -v b="$2" 'BEGIN {
        split(a, x, "."); split(b, y, ".")
        for (i = 1; i <= 4; i++) if (x[i] + 0 != y[i] + 0) exit x[i] + 0 > y[i] + 0
        exit 1
    }'
}

# --- the service ------------------------------------------------------------------------------

runs_systemd() { [ -d /run/systemd/system ]; }

# what the agent says of itself: the top level, before the share and the other nodes
own_status() { "$client" status --local --json --run-dir "$RUN_DIR" 2>/dev/null | sed 's/"share":.*//'; }
is_up() { own_status | grep -q '"role":'; }
has_role() { own_status | grep -q "\"role\":\"$1\""; }
runs_version() { own_status | grep -q "\"version\":\"$1[\"+-]"; }

# whether a service can be started here: not in a folder that becomes an image
can_start() {
    case $init in
    systemd) runs_systemd ;;
    sysv) [ -d /proc/self ] ;;
    procd) [ -e /sbin/procd ] && [ -d /proc/self ] ;;
    esac
}

service() { # start|stop|restart
    case $init in
    systemd) systemctl "$1" edge-agent.service ;;
    sysv | procd) "$SCRIPT" "$1" ;;
    esac
}

# whether somebody stopped it; a service that failed is not meant
is_stopped() {
    code=0
    case $init in
    systemd) [ "$(systemctl is-active edge-agent.service)" = inactive ] ;;
    sysv) "$SCRIPT" status >/dev/null 2>&1 || code=$?; [ "$code" = 3 ] ;;
    procd) ! "$SCRIPT" running >/dev/null 2>&1 ;;
    esac
}

is_enabled() {
    case $init in
    systemd) systemctl is-enabled --quiet edge-agent.service 2>/dev/null ;;
    sysv) ls /etc/rc[2-5].d/S*edge-agent >/dev/null 2>&1 ;;
    procd) "$SCRIPT" enabled ;;
    esac
}

# COMMAND...: for the init system that it was installed for
by_old() (
    init=$old_init
    "$@"
)

reload_units() { if runs_systemd; then systemctl daemon-reload; fi; }

enable_service() {
    case $init in
    systemd)
        systemctl enable edge-agent.service >/dev/null 2>&1 || say "enable it by: systemctl enable edge-agent"
        ;;
    sysv)
        if command -v update-rc.d >/dev/null 2>&1; then
            update-rc.d edge-agent defaults >/dev/null
        elif command -v chkconfig >/dev/null 2>&1; then
            chkconfig --add edge-agent
        else
            say "link $SCRIPT into the runlevels by hand: neither update-rc.d nor chkconfig is here"
        fi
        ;;
    procd) "$SCRIPT" enable ;;
    esac
}

disable_service() {
    case $init in
    systemd) systemctl disable edge-agent.service >/dev/null 2>&1 || true ;;
    sysv)
        if command -v update-rc.d >/dev/null 2>&1; then
            update-rc.d -f edge-agent remove >/dev/null || true
        elif command -v chkconfig >/dev/null 2>&1; then
            chkconfig --del edge-agent || true
        fi
        ;;
    procd) "$SCRIPT" disable || true ;;
    esac
}

# a master hands over first, if there is somebody to: forwarding pauses for a poll
hand_over() {
    [ -n "$was_dir" ] || return 0
    has_role master || return 0
    "$client" switchover --run-dir "$RUN_DIR" >/dev/null 2>&1 || return 0
    for _ in 1 2 3 4 5; do
        if has_role standby; then
            say "handed the mastership over"
            return 0
        fi
        sleep 1
    done
}

# --- uninstall --------------------------------------------------------------------------------

target=$(installed)
client=$target
old_init=$(installed_init)
was_dir=$(setting EDGE_DATADIRPATH)
was_site=$(setting EDGE_SITE)
was_network=$(setting EDGE_REQUIRE_NETWORK_SHARE)
run_dir=$(setting EDGE_RUN_DIR)
judge_path 78 "$DEFAULTS: EDGE_DATADIRPATH" "$was_dir"
judge_site 78 "$DEFAULTS: EDGE_SITE" "$was_site"
judge_path 78 "$DEFAULTS: EDGE_RUN_DIR" "$run_dir"
RUN_DIR=${run_dir:-$RUN_DIR}
if [ "$uninstall" = yes ]; then
    [ -n "$target" ] || { say "is not installed"; exit 0; }
    if [ "$dry" = yes ]; then
        say "would stop the service and delete $target, its service file and nothing else"
        exit 0
    fi
    init=$old_init
    if can_start; then service stop || true; fi
    disable_service
    rm -f "$UNIT" "$SCRIPT" "$target"
    reload_units
    # a directory that somebody named may hold more
    rm -f "$RUN_DIR/agent.sock"
    rmdir "$RUN_DIR" 2>/dev/null || true
    rm -rf /run/edge-agent
    say "is uninstalled; what stays: ${was_dir:-$ALONE_DATA_DIR}, $DEFAULTS, the user"
    exit 0
fi

# --- judge ------------------------------------------------------------------------------------

before=$target
if [ "$upgrade" = yes ] && [ -z "$before" ]; then
    fail 69 "is not installed: use install_edge_service.sh"
fi
[ -n "$prefix" ] && target=$prefix/sbin/edge-agent
[ -n "$target" ] || target=/usr/sbin/edge-agent
[ -n "$user" ] || user=$(service_user)
[ -n "$user" ] || user=edge-agent

if [ -z "$binary" ]; then
    for found in "$HERE/edge-agent" "$HERE/../edge-agent" "$HERE/../sbin/edge-agent"; do
        [ ! -f "$found" ] || { binary=$found; break; }
    done
fi
[ -n "$binary" ] && [ -f "$binary" ] || fail 69 "the program is not beside this script: name it with --binary"
for file in edge-agent.service edge-agent.init edge-agent.procd; do
    [ -r "$HERE/$file" ] || fail 69 "$file is not beside this script: unpack the whole bundle"
done

# what is to be undone if a later step fails, in this order; names of ours
undo=''
stage=''
undo_all() {
    code=$?
    set +e
    # an undo is not to be ended half way
    trap '' INT TERM HUP
    if [ "$code" != 0 ] && [ -n "$undo" ]; then
        echo "edge-agent: undoing what was done" >&2
        for step in $undo; do "$step"; done
    fi
    [ -z "$stage" ] || rm -rf "$stage"
    exit "$code"
}

# beside the binary, and tried from there: where it was unpacked it may not be executable
program=$binary
if [ "$dry" = no ]; then
    trap undo_all EXIT
    trap 'exit 75' INT TERM HUP
    mkdir -p "$(dirname "$target")"
    stage=$(mktemp -d "$(dirname "$target")/.edge-agent.XXXXXX")
    chmod 0755 "$stage"
    program=$stage/edge-agent
    cp "$binary" "$program" && chmod 0755 "$program" || fail 69 "$binary cannot be copied to $(dirname "$target")"
fi

new=$(version_of "$program") || true
[ -n "$new" ] || fail 69 "$binary does not run here: is it built for $(uname -m)?"
old=''
if [ -n "$before" ] && [ -x "$before" ]; then
    old=$(version_of "$before") || true
    if [ -n "$old" ] && [ "$downgrade" = no ] && is_older "$new" "$old"; then
        fail 69 "version $new is older than $old, which is installed: --allow-downgrade installs it all the same"
    fi
fi

[ -n "$data_dir" ] || data_dir=$was_dir
if [ -z "$site" ] && [ "$data_dir" = "$was_dir" ]; then site=$was_site; fi

if [ "$dry" = yes ]; then
    say "would install version $new${old:+ in place of $old} as $target, run by $user, under $init"
    if [ -n "$data_dir" ]; then
        say "would use the data directory $data_dir${site:+ of site $site}, or make it"
    else
        say "would run alone on $ALONE_DATA_DIR"
    fi
    exit 0
fi

# --- do ---------------------------------------------------------------------------------------

as_user() { # COMMAND...: as the user of the service
    if [ "$(id -u "$user")" = "$(id -u)" ]; then
        "$@"
    elif command -v setpriv >/dev/null 2>&1 && setpriv --version 2>/dev/null | grep -q util-linux; then
        setpriv --reuid "$user" --regid "$group" --clear-groups -- "$@"
    elif command -v su >/dev/null 2>&1; then
        # busybox: arguments are passed on as they are
        # shellcheck disable=SC2016
        su -s /bin/sh "$user" -c 'exec "$0" "$@"' -- "$@"
    else
        # OpenWrt; with a pid file that is not there it starts though the same program runs
        program_of_user=$1
        shift
        start-stop-daemon -S -q -p "$stage/none" -c "$user" -x "$program_of_user" -- "$@"
    fi
}

# whether a user, or a group that is not ours, has the number
is_taken() { # NUMBER
    { cat /etc/passwd /etc/group; getent passwd "$1"; getent group "$1"; } 2>/dev/null |
        grep -v "^$group:" | grep -q "^[^:]*:[^:]*:$1:"
}

# gives the user and its group; makes what is missing
make_user() {
    if id "$user" >/dev/null 2>&1; then
        group=$(id -gn "$user")
        return 0
    fi
    group=$user
    # the same number on all gateways, so that owners on the share agree
    number=8480
    while is_taken "$number"; do number=$((number + 1)); done
    group_number=$(sed -n "s/^$group:[^:]*:\([0-9]*\):.*/\1/p" /etc/group)
    is_group_there=${group_number:+yes}
    group_number=${group_number:-$number}
    if command -v useradd >/dev/null 2>&1; then
        [ -n "$is_group_there" ] || groupadd --system --gid "$number" "$group"
        useradd --system -K "SYS_UID_MAX=$number" --uid "$number" --gid "$group" --home-dir "$ALONE_DATA_DIR" \
            --no-create-home --shell /usr/sbin/nologin "$user"
    elif command -v adduser >/dev/null 2>&1; then
        [ -n "$is_group_there" ] || addgroup -S -g "$number" "$group"
        adduser -S -D -H -u "$number" -h "$ALONE_DATA_DIR" -s /bin/false -G "$group" "$user"
    else
        # as OpenWrt's own scripts do
        [ -n "$is_group_there" ] || echo "$group:x:$number:" >>/etc/group
        echo "$user:x:$number:$group_number:$user:$ALONE_DATA_DIR:/bin/false" >>/etc/passwd
        [ ! -e /etc/shadow ] || echo "$user:x:0:0:99999:7:::" >>/etc/shadow
    fi
    say "made the user $user, number $number, group $group_number"
    [ "$number$group_number" = 84808480 ] ||
        say "other gateways have 8480, which is taken here: owners on the share must agree," \
            "unless its server gives all files to one"
}

# sets a variable in the staged copy of /etc/default/edge-agent, keeps all others
set_variable() { # VARIABLE VALUE
    grep -qFx "$1=\"$2\"" "$stage/default" && return 0
    grep -v "^$1=" "$stage/default" >"$stage/next" || true
    [ -z "$2" ] || echo "$1=\"$2\"" >>"$stage/next"
    mv "$stage/next" "$stage/default"
}

# puts a file in its place whole; what was there can be had back
place() { # FROM TO MODE NAME
    mkdir -p "$(dirname "$2")"
    if [ -e "$2" ]; then
        cp -p "$2" "$stage/part" && mv "$stage/part" "$stage/$4.was" || fail 69 "$2 cannot be put aside: it stays"
    fi
    undo="undo_$4 $undo"
    cp "$1" "$2.new" && chmod "$3" "$2.new" && chown 0:0 "$2.new" && mv "$2.new" "$2" || fail 69 "$2 cannot be written"
}
put_back() { # TO NAME
    rm -f "$1.new"
    if [ -e "$stage/$2.was" ]; then
        # a full disk may have no room for what is there already
        ! cmp -s "$stage/$2.was" "$1" || return 0
        cp -p "$stage/$2.was" "$1.new" && mv "$1.new" "$1" || {
            rm -f "$1.new"
            echo "edge-agent: $1 cannot be put back" >&2
        }
    else
        rm -f "$1"
    fi
}
undo_binary() { put_back "$target" binary; }
undo_default() { put_back "$DEFAULTS" default; }
undo_service() { put_back "$service_file" service; reload_units; }
# the first step: while its service file is there
undo_start() {
    if can_start; then service stop; fi
    disable_service
}
# the last step: when all that it needs is back
undo_stop() {
    if [ "$was_enabled" = yes ] && [ "$old_init" != "$init" ]; then by_old enable_service; fi
    if [ "$was_stopped" = no ] && by_old can_start; then by_old service restart; fi
}

make_user

# what touches the share does so in the background, and is left there if it hangs
bounded() { # COMMAND...: its exit code, or 75
    "$@" &
    job=$!
    (
        trap 'kill "$nap"; exit' TERM
        sleep "$SHARE_S_MAX" &
        nap=$!
        wait "$nap" && kill -KILL "$job"
    ) >/dev/null 2>&1 &
    watch=$!
    code=0
    wait "$job" || code=$?
    kill "$watch" 2>/dev/null || true
    if [ "$code" = 137 ]; then
        echo "edge-agent: nothing is heard of it within $SHARE_S_MAX s: does the share hang?" >&2
        code=75
    fi
    return "$code"
}

# makes the data directory if it is missing, and writes its site to the stage
open_data_dir() {
    made=no
    if [ ! -d "$data" ]; then
        [ -z "$site" ] || fail 78 "$data is not there, and holds site $site: is the share mounted?"
        mkdir -p "$data" || fail 78 "$data cannot be made"
        made=yes
        chown "$user:$group" "$data" && chmod 0700 "$data" || {
            rmdir "$data"
            fail 78 "$data cannot be given to $user: a root-squashed share wants this done on its server"
        }
        [ -z "$data_dir" ] || say "made $data: if other nodes have a data directory already, is the share mounted?"
    fi
    # shellcheck disable=SC2086 # an option or nothing
    as_user "$program" init --datadirpath "$data" ${site:+--site-id "$site"} $require >"$stage/site" || {
        code=$?
        # nothing is in it
        [ "$made" = no ] || rmdir "$data" 2>/dev/null
        return "$code"
    }
}

# the data directory first: without it nothing is changed
data=${data_dir:-$ALONE_DATA_DIR}
# of an older program that knows no such option nothing is asked
require=''
case ${network:-$was_network} in
1 | true | yes | on)
    if "$program" init --help | grep -q -- --require-network-share; then require=--require-network-share; fi
    ;;
esac
if [ -n "$old" ] && [ -n "$site" ] && [ "$site" = "$was_site" ] && [ "$data_dir" = "$was_dir" ] && [ -z "$network" ]; then
    # an upgrade waits for no share, and makes none
    found=$site
else
    bounded open_data_dir || {
        code=$?
        fail "$code" "the data directory $data cannot be used by $user (above)"
    }
    found=$(tail -n 1 "$stage/site")
fi
say "data directory $data, site $found"

if [ -r "$DEFAULTS" ]; then cp "$DEFAULTS" "$stage/default"; else
    echo "# variables of the edge-agent service; edge-agent run --help names them" >"$stage/default"
fi
if [ -n "$data_dir" ]; then
    set_variable EDGE_DATADIRPATH "$data_dir"
    set_variable EDGE_SITE "$found"
fi
[ -z "$node" ] || set_variable EDGE_NODE "$node"
[ -z "$port" ] || set_variable EDGE_CONSOLE "127.0.0.1:$port"
[ -z "$network" ] || set_variable EDGE_REQUIRE_NETWORK_SHARE 1

# the new program must find all as well as the old one did
check() ( # BINARY: its exit code
    set -a
    # shellcheck source=/dev/null
    . "$stage/default"
    set +a
    as_user "$1" check >"$stage/check" 2>&1 && echo 0 || echo $?
)
# how bad an exit code is
rank() { # CODE
    case $1 in 0) echo 0 ;; 75) echo 1 ;; *) echo 2 ;; esac
}
code=$(check "$program")
if [ "$code" != 0 ]; then
    cp "$stage/check" "$stage/check.new"
    if [ -n "$old" ] && [ "$(rank "$code")" -gt "$(rank "$(check "$before")")" ]; then
        cat "$stage/check.new" >&2
        [ "$code" = 75 ] || code=78
        fail "$code" "version $new fails where $old does not: $old stays"
    fi
    grep '^fail' "$stage/check.new" >&2 || true
    say "check fails (above): mend it, then the service goes on by itself, or reload it"
fi

# --- put it in its place ----------------------------------------------------------------------

case $init in
systemd) service_file=$UNIT from=edge-agent.service mode=0644 ;;
sysv) service_file=$SCRIPT from=edge-agent.init mode=0755 ;;
procd) service_file=$SCRIPT from=edge-agent.procd mode=0755 ;;
esac
sed -e "s|/usr/sbin/edge-agent|$target|g" \
    -e "s|^User=.*|User=$user|; s|^Group=.*|Group=$group|; s|^DAEMON_USER=.*|DAEMON_USER=$user|" \
    "$HERE/$from" >"$stage/service"

is_same() { # FROM TO
    [ -e "$2" ] && cmp -s "$1" "$2"
}
if is_same "$program" "$target" && is_same "$stage/default" "$DEFAULTS" &&
    is_same "$stage/service" "$service_file" && can_start && is_up; then
    say "version $new runs, and all is as it was asked for"
    exit 0
fi

# what people stopped or disabled stays so
was_stopped=no was_enabled=yes
if [ -n "$old" ] && by_old can_start; then
    if by_old is_stopped; then was_stopped=yes; fi
    if ! by_old is_enabled; then was_enabled=no; fi
    if [ "$was_stopped" = yes ] && [ "$start" = yes ]; then
        start=no
        say "the service is stopped here, and stays so"
    fi
    if [ "$start" = yes ]; then hand_over; fi
    if [ "$old_init" != "$init" ]; then
        undo="undo_stop"
        by_old service stop || fail 69 "$old_init does not stop the service"
        by_old disable_service
    fi
fi

place "$program" "$target" 0755 binary
place "$stage/default" "$DEFAULTS" 0644 default
place "$stage/service" "$service_file" "$mode" service
reload_units
if [ -z "$old" ] || [ "$old_init" != "$init" ]; then
    undo="undo_start $undo"
    if [ "$was_enabled" = yes ]; then enable_service; fi
fi
client=$target

# another place, or another init system, than before; two names of one place are not two
folder_of() { (cd "$(dirname "$1")" 2>/dev/null && pwd -P); }
leave_old() {
    [ -z "$before" ] || [ "$(folder_of "$before")" = "$(folder_of "$target")" ] || rm -f "$before"
    case $init in systemd) rm -f "$SCRIPT" ;; *) rm -f "$UNIT" ;; esac
    reload_units
}

if [ "$start" = no ] || ! can_start; then
    leave_old
    say "version $new is installed${old:+ in place of $old}, and not started"
    exit 0
fi
if [ -n "$old" ] && [ "$old_init" = "$init" ]; then undo="$undo undo_stop"; fi
service restart || fail 69 "the service does not start"
# that it answers once is not enough
seen=0
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
    if runs_version "$new"; then seen=$((seen + 1)); else seen=0; fi
    if [ "$seen" = 4 ]; then
        leave_old
        ask="edge-agent status"
        [ -z "$run_dir" ] || ask="$ask --run-dir $run_dir"
        say "version $new runs${old:+ in place of $old}; see: $ask"
        exit 0
    fi
    sleep 1
done
fail 69 "the service was started and version $new does not go on answering: see its log"
