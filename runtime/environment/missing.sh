for file in @NEEDED@; do
  [ -r "$file" ] && continue
  echo "sdee: $1: sdee itself is not seen in this environment: $file is not there" >&2
  echo "  try: install it below your home, or sdee env create --bind DIRECTORY" >&2
  echo "  without a bundle: SDEE_TRANSPARENT=0 $1 …" >&2
  exit 244
done
