case $1 in */) results=$1$SLURMD_NODENAME ;; *) results=$1 ;; esac
begun=$2 then=$(($(date +%s) - $3)) failed=0 IFS=; shift 3
[ $((begun - then)) -le 2 ] || begun=$((then - 1))
for pattern; do
  for file in $pattern; do
    [ -n "$(find "$file" -user "$(id -u)" -newerct "@$begun" 2>/dev/null)" ] || continue
    mkdir -p "$results${file%/*}" && cp -a "$file" "$results${file%/*}/" || {
      echo "sdee: error: $(uname -n): cannot copy back $file" >&2
      failed=247
    }
  done
done
exit $failed
