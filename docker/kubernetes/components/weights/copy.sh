#!/bin/sh
# Copy the files that $LIST names from $SOURCE to $WEIGHTS, and check their sha256 there.
set -eu
# The last line may lack its end.
while read -r _ name || [ -n "$name" ]; do
    mkdir -p "$(dirname "$WEIGHTS/$name")"
    cp -- "$SOURCE/$name" "$WEIGHTS/$name"
done < "$LIST"
cd "$WEIGHTS"
sha256sum --check --strict "$LIST"
