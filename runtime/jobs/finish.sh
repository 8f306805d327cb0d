sdee_begun=$(date +%s)
sdee_finish() { # $1: the status of a step
  sdee_status=$1
  @COLLECT@
  rmdir "$sdee_results"/*.[0-9]* 2>/dev/null || : # of tasks that wrote nothing
  return "$sdee_status"
}
