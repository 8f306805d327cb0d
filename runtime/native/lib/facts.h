/* Facts that two programs need. Written by .ci/generate from src/sdee/base/facts and packer/format/bundle.toml: change that, not this. */
#ifndef SDEE_LIB_FACTS_H
#define SDEE_LIB_FACTS_H

#define PATH_MOST 4031u /* bytes of a path of a bundle */
#define COMPONENT_MOST 255u

#endif
