sdee_here() (
  { set +eux; } 2>/dev/null # the script's own
  sdee_env=$(sdee_changed)$SDEE_PASS_ENV
  [ -z "$sdee_env" ] || { SDEE_PASS_ENV=$sdee_env; export SDEE_PASS_ENV; }
  @CALL@ "$@"
  sdee_status=$?
  [ -z "$sdee_results" ] || sdee_finish "$sdee_status"
  exit "$sdee_status"
)
