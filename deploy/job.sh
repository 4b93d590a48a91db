#!/bin/sh
# The jobs of docs/operating.md, for timers and cron: billing-job month|deliver|backup|heads
set -eu
if [ -r /etc/billing.env ]; then
    set -a
    . /etc/billing.env
fi
export BILLING_LOG="${BILLING_LOG:-lines}"
case ${1:-} in
    month) exec billing month "$(date --date "$(date +%Y-%m-01) -1 day" +%Y-%m)" ;;
    deliver) exec billing deliver ;;
    backup)
        copy=${BACKUP:-/backup}/$(date +%Y-%m-%d)
        billing backup "$copy"
        if [ "$(date +%u)" = 7 ]; then billing restore "$copy" --drill; fi
        ;;
    heads) billing log head >>"${BACKUP:-/backup}/heads.txt" ;;
    *)
        echo "usage: billing-job month|deliver|backup|heads" >&2
        exit 2
        ;;
esac
