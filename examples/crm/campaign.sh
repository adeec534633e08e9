#!/bin/bash
# What campaign.py does, with curl: create, stream, start, follow the webhooks.
#
#   export MAILWRIGHT_URL=http://127.0.0.1:8025 MAILWRIGHT_API_KEY=mw_…
#   campaign.sh 'Acme <news@example.com>' 100000 example.net [port for webhooks]
#
# Needs curl, gzip, awk and Python for the receiver. Files are kept in the working folder.
set -euo pipefail

from=$1 count=$2 domain=$3 port=${4:-9000}
here=$(cd "$(dirname "$0")" && pwd)
chunk_rows=20000

# The key in a file that only we read: an argument is seen by everyone on this machine.
auth=$(mktemp)
trap 'rm -f "$auth"; [ -z "${receiver:-}" ] || kill "$receiver" 2>/dev/null || true' EXIT
printf 'header = "Authorization: Bearer %s"\n' "$MAILWRIGHT_API_KEY" >"$auth"

api() { # method path [curl options]: the answer, or an end with the problem
  local method=$1 path=$2
  shift 2
  curl -sS --fail-with-body --retry 8 --retry-connrefused -K "$auth" -X "$method" \
    "$MAILWRIGHT_URL$path" "$@" || { echo >&2; exit 1; }
}
member() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" | head -n 1; }
json() { python3 -c 'import json, sys; print(json.dumps(sys.stdin.read()))'; }

# 1. The campaign. The same Idempotency-Key again is the same campaign.
cat >job.json <<JOB
{"name": "Spring sale by curl", "from": $(printf %s "$from" | json),
 "subject": "{{ first_name }}, spring is here",
 "html": $(json <"$here/spring.html"), "tags": ["spring"]}
JOB
campaign=$(api POST /v1/campaigns -H 'Content-Type: application/json' \
  -H "Idempotency-Key: crm-example-curl-$count" --data-binary @job.json |
  sed -n 's/.*"id":"\(cmp_[^"]*\)".*/\1/p')
echo "campaign $campaign"

# 2. A webhook for its events; the secret is shown once.
touch webhook.secret
chmod 600 webhook.secret
python3 "$here/receiver.py" --listen "127.0.0.1:$port" --secret-file webhook.secret \
  --out events.ndjson &
receiver=$!
api POST /v1/webhooks -H 'Content-Type: application/json' \
  -d "{\"url\": \"http://127.0.0.1:$port/\", \"campaign\": \"$campaign\", \"after\": \"\"}" \
  >webhook.json
member secret <webhook.json >webhook.secret
webhook=$(sed -n 's/.*"id":"\(whk_[^"]*\)".*/\1/p' webhook.json)

# 3. The recipients, in chunks with keys: a repeat of a chunk counts once.
awk -v count="$count" -v domain="$domain" 'BEGIN {
  for (n = 1; n <= count; n++)
    printf "{\"email\":\"buyer%d@%s\",\"fields\":{\"first_name\":\"Buyer %d\",\"points\":%d}}\n",
      n, domain, n, n % 500
}' | split -l "$chunk_rows" -d -a 6 --filter='gzip -1 >"$FILE.gz"' - rows-
state=$(api GET "/v1/campaigns/$campaign" | member state)
for chunk in rows-*.gz; do
  [ "$state" = draft ] || break
  api PUT "/v1/campaigns/$campaign/recipients?key=${chunk%.gz}" -T "$chunk" \
    -H 'Content-Type: application/x-ndjson' -H 'Content-Encoding: gzip' >/dev/null
done
echo "uploaded $count recipients"

# 4. Start, and follow it to its end.
[ "$state" != draft ] || api POST "/v1/campaigns/$campaign/start" >/dev/null
while :; do
  api GET "/v1/campaigns/$campaign" >campaign.json
  state=$(member state <campaign.json)
  total=0
  for each in delivered bounced expired cancelled suppressed; do
    total=$((total + $(sed 's/.*"deliveries":{//' campaign.json | member "$each")))
  done
  told=$(grep -cE '"type": "(delivered|bounced|expired|cancelled|suppressed)"' events.ndjson || true)
  echo "$state: $total ended, events of $told"
  case $state in done | cancelled | failed | held) [ "$told" -ge "$total" ] && break ;; esac
  sleep 1
done
api DELETE "/v1/webhooks/$webhook"

# 5. Who got it, and who did not, as a spreadsheet takes it.
api GET "/v1/campaigns/$campaign/recipients?format=csv" -o results.csv
api GET "/v1/campaigns/$campaign/rejects?format=csv" -o rejects.csv
echo "$state: results.csv, rejects.csv, events.ndjson"
[ "$state" = done ]
