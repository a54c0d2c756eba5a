#!/bin/sh
# Prints what this program sees of its pod, by the usual tools.
host=echo.default.svc.cluster.local
echo "greeting=$GREETING"
echo "hostname=$(uname -n)"
echo "config=$(cat /app/config.yaml | head -n 1)"
echo "echo=$(getent ahostsv4 $host | head -n 1 | cut -d ' ' -f 1)"
echo "answer=$(curl -sS "http://$host/bytes?n=16" | od -An -v -tx1 | tr -d ' \n')"
