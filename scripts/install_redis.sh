#!/bin/sh
# Redis, and Valkey where it is packaged, for the tests of fleets: from the system's packages, where there is none.
# Each test starts servers of its own on loopback: the packages' own services are never started.
set -eu
if command -v redis-server >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "The tests of fleets need a redis-server with TLS on the PATH: install Redis, as Debian's redis-server" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends redis-server >/dev/null
if apt-cache show valkey-server >/dev/null 2>&1; then
  apt-get install -y -qq --no-install-recommends valkey-server >/dev/null
fi
