if [ ! -x "$sdee_bundle" ]; then
  echo "sdee: error: $sdee_bundle is missing; \`sdee submit\`, or sbatch in the environment, makes it again" >&2
  exit 241
fi
