#!/bin/sh
# Connects with curl and prints how it ended. Arguments: HOST PORT TIMEOUT-IN-MS.
seconds=$(awk "BEGIN { print $3 / 1000 }")
report=$(curl --verbose --silent --output /dev/null --connect-timeout "$seconds" "http://$1:$2/" 2>&1)
case $?:$report in
0:*) echo "ok: 1" ;;
7:*"Connection refused"*) echo "refused ECONNREFUSED: 1" ;;
28:*) echo "timeout: 1" ;;
*) printf 'error %s\n' "$report" ;;
esac
