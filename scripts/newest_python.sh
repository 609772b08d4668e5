#!/bin/sh
# Prints the newest Python that the tests are known to pass on, of those on the PATH and pyenv's; else what it is given.
set -eu
for version in 3.13 3.12; do
  for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
    if "$python" -c "import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
      echo "$python"
      exit
    fi
  done
done
echo "$1"
