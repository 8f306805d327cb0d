sdee_environment() { env | grep -E '^(@NAMES@)=' || :; }
sdee_before=$(sdee_environment)
sdee_changed() {
  sdee_environment | while IFS= read -r sdee_line; do
    case "
$sdee_before
" in *"
$sdee_line
"*) ;; *) printf '%s,' "${sdee_line%%=*}" ;; esac
  done
}
