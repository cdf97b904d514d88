#!/usr/bin/env bash
# Installs the servers that some tests run against, from Debian's packages: only as root, only where apt-get is, only what is missing.
# Tests whose server is not installed are skipped and say so, so this never fails.
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive
PATH="$PATH:/usr/local/sbin:/usr/sbin"

# program:package
wanted=()
for pair in nginx:nginx haproxy:haproxy nghttpd:nghttp2-server redis-server:redis-server; do
  command -v "${pair%%:*}" >/dev/null || wanted+=("${pair##*:}")
done

if [ "${#wanted[@]}" -eq 0 ]; then
  echo "All servers that tests run against are installed."
elif [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "Not installed: ${wanted[*]}. Tests against them are skipped; to run them, install these packages."
else
  echo "Installing for tests: ${wanted[*]}"
  # The services are not started: tests run processes of their own.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  timeout 120 apt-get -q update >/dev/null
  for package in "${wanted[@]}"; do
    timeout 200 apt-get -qy install --no-install-recommends "$package" >/dev/null ||
      echo "Could not install $package: tests against it are skipped."
  done
fi
exit 0
