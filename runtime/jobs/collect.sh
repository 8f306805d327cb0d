node=${SLURMD_NODENAME:-$(uname -n)} begun=$3 then=$(($(date +%s) - $4)) failed=0 shared='' IFS=
results=${1%%//N//*}$node${1#*//N//} others=${2:+${2%%//N//*}$node${2#*//N//}}; shift 4
[ $((begun - then)) -le 2 ] || begun=$((then - 1))
for pattern; do
  for file in $pattern; do
    [ -n "$(find "$file" -user "$(id -u)" -newerct "@$begun" 2>/dev/null)" ] || continue
    mkdir -p "$results${file%/*}" && cp -a "$file" "$results${file%/*}/" || {
      echo "sdee: error: $(uname -n): cannot copy back $file" >&2
      failed=247
    }
    for other in $others; do # another task of the array brought it back, too, since this one began
      [ "$other" != "$results" ] && [ -n "$(find "$other$file" -newerct "@$begun" 2>/dev/null)" ] || continue
      shared="$shared${shared:+, }$file"
      break
    done
  done
done
[ -z "$shared" ] || {
  echo "sdee: warning: $node: other tasks of this array ran here meanwhile, and nothing tells which wrote: $shared" >&2
  echo "  hint: --exclusive, or names with the task's number in them" >&2
}
exit $failed
