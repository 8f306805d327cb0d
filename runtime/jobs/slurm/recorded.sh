  umask 077
  {
    printf '%s\0' "$#" "$PWD"
    for sdee_word; do
      sdee_text=
      if [ -f "$sdee_word" ] && [ "$(wc -c <"$sdee_word")" -lt 1000000 ]; then
        sdee_text=$(cat "$sdee_word"; echo .)
        sdee_text=${sdee_text%.}
      fi
      printf '%s\0' "$sdee_word" "$sdee_text"
    done
  } >>@RECORD@
