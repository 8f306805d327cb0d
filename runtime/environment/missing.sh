for file in @NEEDED@; do
  [ -r "$file" ] && continue
  echo "sdee: $1: this environment does not show sdee itself: $file is missing" >&2
  echo "  hint: install it below your home, or sdee env create --bind DIRECTORY" >&2
  echo "  without a bundle: SDEE_TRANSPARENT=0 $1 …" >&2
  exit 244
done
