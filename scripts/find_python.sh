#!/bin/sh
# Prints the path of the first of these Pythons that the machine has, on the PATH or among pyenv's; fails if it has none.
# A version is 3.13, or 3.13t for its free-threaded build.
#   scripts/find_python.sh 3.14 3.13
set -eu
is_that_version='
import ensurepip, sys, sysconfig
threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
sys.exit("%d.%d" % sys.version_info[:2] + threads != sys.argv[1])'
for version in "$@"; do
  number=${version%t}
  for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$number"*/bin/python; do
    if "$python" -c "$is_that_version" "$version" 2>/dev/null; then
      echo "$python"
      exit
    fi
  done
done
exit 1
