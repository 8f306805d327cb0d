sdee_uptime() { # s; 0 where it is unknown
  { read -r sdee_up sdee_idle </proc/uptime; } 2>/dev/null || sdee_up=0
  echo "${sdee_up%.*}"
}
sdee_begun=$(date +%s) sdee_started=$(sdee_uptime)
sdee_finish() { # $1: the status of a step
  sdee_status=$1
  @COLLECT@
  rmdir "${sdee_results%%//N//*}"*"${sdee_results#*//N//}".[0-9]* 2>/dev/null || : # of tasks that wrote nothing
  return "$sdee_status"
}
