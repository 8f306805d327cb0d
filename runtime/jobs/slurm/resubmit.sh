sdee_state=options sdee_number=0 sdee_at=0 sdee_kind=stdin sdee_wrap=
for sdee_word; do
  sdee_number=$((sdee_number + 1))
  case $sdee_state in
  value) sdee_state=options; continue ;;
  wrap) sdee_state=options sdee_kind=wrap sdee_wrap=$sdee_word; continue ;;
  dashes) sdee_at=$sdee_number sdee_kind=script; break ;;
  esac
  case $sdee_word in
  --wrap=*) sdee_kind=wrap sdee_wrap=${sdee_word#--wrap=} ;;
  --wrap) sdee_state=wrap ;;
  --help | --usage | --version | --test-only | -h | -V) exec sbatch "$@" ;;
  --) sdee_state=dashes ;;
  @VALUES@) sdee_state=value ;;
  -*) ;;
  *)
    [ "$sdee_kind" = stdin ] || exec sbatch "$@" # --wrap and a script: it says what is wrong
    sdee_at=$sdee_number sdee_kind=script
    break ;;
  esac
done
sdee_name=sbatch
case $sdee_kind in
script)
  sdee_name=${sdee_word##*/} sdee_file=$sdee_word
  [ -f "$sdee_file" ] || sdee_file=$(command -v "$sdee_word")
  [ -f "$sdee_file" ] && [ -r "$sdee_file" ] || exec sbatch "$@" ;;
wrap) sdee_name=wrap ;;
esac
sdee_name=$(printf %s "$sdee_name" | tr '[:cntrl:]' '?')
sdee_made=$(mktemp @OUTSIDE@/submitted-XXXXXX) || {
  printf '%s\n' "sdee: sbatch in a job: $sdee_name runs on the node itself, outside of the environment" >&2
  exec sbatch "$@"
}
case $sdee_kind in
script) cat "$sdee_file" ;;
wrap) printf '#!/bin/sh\n%s\n' "$sdee_wrap" ;;
stdin) cat ;;
esac >"$sdee_made"
case $(head -n 1 "$sdee_made") in '#!'*) ;; *) exec sbatch "$@" <"$sdee_made" ;; esac
chmod 700 "$sdee_made"
( # sbatch reads it a moment later: nobody else may write to it, whatever the umask is
  umask 077
  {
    echo '#!/bin/sh'
    case $sdee_name in *[\"\\]*) ;; *) printf '#SBATCH --job-name="%s"\n' "$sdee_name" ;; esac
    sed -n '/^[[:space:]]*[^#[:space:]]/q; /^#SBATCH/p' "$sdee_made"
    printf 'SDEE_COMMAND=%s/%s\n' @QUOTED@ "${sdee_made##*/}"
    printf '%s\n' 'export SDEE_COMMAND' @RUN@
  } >"$sdee_made.sh"
)
sdee_said="new since the trial run of this job, runs in the bundle of this job"
printf '%s\n' "sdee: sbatch in a job: $sdee_name, $sdee_said" >&2
sdee_state=options sdee_number=0 sdee_left=$#
while [ "$sdee_left" -gt 0 ]; do
  sdee_word=$1 sdee_number=$((sdee_number + 1)) sdee_left=$((sdee_left - 1))
  shift
  case $sdee_state in
  wrap) sdee_state=options; continue ;;
  value) sdee_state=options ;;
  options)
    case $sdee_word in
    --wrap) sdee_state=wrap; continue ;;
    --wrap=* | --) continue ;;
    @VALUES@) sdee_state=value ;;
    esac ;;
  esac
  [ "$sdee_number" != "$sdee_at" ] || sdee_word=$sdee_made.sh sdee_state=arguments
  set -- "$@" "$sdee_word"
done
[ "$sdee_kind" = script ] || set -- "$@" "$sdee_made.sh"
exec sbatch "$@"
