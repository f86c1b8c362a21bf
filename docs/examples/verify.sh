#!/bin/sh
# Verify every release of ibuurt.statistics.v1, one record's value a line on standard input:
#   kcat ... -f '%s\n' > releases.jsonl && sh verify.sh KEY [KEY ...] < releases.jsonl
# KEY is a public key of the municipality, 64 hexadecimal digits; name those before it too, in any order. Ends
# with 0 where all is right, with 1 where something is not, or nothing came, said on standard error; what is no
# release is left, and the chain goes on without it.
set -u
export LC_ALL=C
[ $# -gt 0 ] || { echo "usage: verify.sh KEY [KEY ...]" >&2; exit 2; }
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT

# A public key as openssl reads it: twelve bytes that say Ed25519, then the key.
for key in "$@"; do
  case $key in *[!0-9a-f]*) echo "$key is no key: 64 hexadecimal digits" >&2; exit 2 ;; esac
  [ ${#key} -eq 64 ] || { echo "$key is no key: 64 hexadecimal digits" >&2; exit 2; }
  for byte in $(printf '302a300506032b6570032100%s' "$key" | sed 's/../0x& /g'); do
    # shellcheck disable=SC2059
    printf "\\$(printf %03o "$byte")"
  done > "$dir/$key.der"
done

sha256() { openssl dgst -sha256 -r "$1" | cut -c1-64; }
wrong() { echo "record $record, number $number: $1" >&2; faults=$((faults + 1)); }

# The key that signs, and those that another one has followed: whoever stole one of them signs with it still.
current='' retired=''
record=0 releases=0 faults=0 last=0000000000000000000000000000000000000000000000000000000000000000
: > "$dir/seen"
: > "$dir/periods"
: > "$dir/digests"
: > "$dir/early"
while IFS= read -r value; do
  record=$((record + 1)) number="?"
  printf '%s' "$value" > "$dir/value"
  # The bytes that are hashed and signed.
  jq -acSj 'del(.digest, .signing_key, .signature)' "$dir/value" > "$dir/told" 2> "$dir/why" &&
    jq -er '.number, .previous, .digest, .signing_key, .signature' "$dir/value" > "$dir/fields" 2> "$dir/why" ||
    { wrong "it is no release"; continue; }
  { read -r number && read -r previous && read -r digest && read -r key && read -r signature; } < "$dir/fields"
  # Sent again, byte for byte.
  whole=$(sha256 "$dir/value")
  grep -qx "$whole" "$dir/seen" && continue
  [ "$(sha256 "$dir/told")" = "$digest" ] || { wrong "its digest is not that of its content"; continue; }
  # By the list, and not by the name of a file: what a record says is anybody's.
  case " $* " in *" $key "*) ;; *) wrong "it is signed by another key, $key"; continue ;; esac
  printf '%s' "$signature" | openssl base64 -d -A > "$dir/signature" 2> "$dir/why"
  openssl pkeyutl -verify -pubin -keyform DER -inkey "$dir/$key.der" -rawin -in "$dir/told" \
    -sigfile "$dir/signature" > "$dir/why" 2>&1 || { wrong "its signature is not that of its key"; continue; }
  # Before its place: no fault where it is in the chain in the end, since what was lost is sent again later.
  [ "$number" = "$((releases + 1))" ] && [ "$previous" = "$last" ] ||
    { echo "$digest record $record, number $number: it does not follow release $releases" >> "$dir/early"; continue; }
  period=$(jq -r '"\(.table) \(.period) \(.edition)"' "$dir/value")
  grep -qxF "$period" "$dir/periods" && { wrong "a second release of $period"; continue; }
  case "$retired " in *" $key "*) wrong "its key was replaced, $key"; continue ;; esac
  [ "$key" = "$current" ] || { retired="$retired $current"; current=$key; }
  releases=$number last=$digest
  echo "$whole" >> "$dir/seen"
  printf '%s\n' "$period" >> "$dir/periods"
  echo "$digest" >> "$dir/digests"
done
while read -r digest what; do
  grep -qx "$digest" "$dir/digests" || { echo "$what" >&2; faults=$((faults + 1)); }
done < "$dir/early"

if [ "$faults" -gt 0 ]; then
  echo "$faults records are not right; up to them $releases releases follow one another" >&2
  exit 1
fi
if [ "$releases" -eq 0 ]; then
  echo "no release came, so nothing is verified: read the topic from its beginning, and see what kcat says" >&2
  exit 1
fi
echo "$releases releases are right, the newest is $last"
