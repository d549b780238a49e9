#!/bin/sh
# Upgrades edge-agent in place: configuration and data stay, a master hands over first, and if the
# new version does not do, the old one is put back. Options: install_edge_service.sh --help
exec "$(dirname "$0")/install_edge_service.sh" --upgrade "$@"
